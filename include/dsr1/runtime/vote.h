// Majority vote over several answers to one prompt (the R1 model card advises to average several runs).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace dsr1::runtime {

// What an answer comes down to: what stands in its last \boxed{}, else its last line where that is short; without
// decoration ("**", "$", "Answer:", a final full stop), spaces and case. Empty where it has no short answer.
std::string short_answer(std::string_view answer);

struct Vote {
  size_t winner = 0;  // the first of the answers that the most agree with; 0 where none has a short answer
  size_t votes = 0;
  std::string answer;  // what they agree on, as short_answer gives it
};
// Ties go to the answer that came first. At least one answer.
Vote majority(std::span<const std::string> answers);

}  // namespace dsr1::runtime
