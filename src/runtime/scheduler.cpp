#include "dsr1/runtime/scheduler.h"

#include <algorithm>

#include "generator.h"

namespace dsr1::runtime {
namespace {

using Clock = std::chrono::steady_clock;
double ms_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

// A shared beginning shorter than this is not worth waiting for: one step of prefill reads as much.
constexpr int64_t kWorthWaiting = 16;

int64_t common_prefix(std::span<const int32_t> a, std::span<const int32_t> b) {
  const size_t limit = std::min(a.size(), b.size());
  size_t n = 0;
  while (n < limit && a[n] == b[n]) ++n;
  return static_cast<int64_t>(n);
}

}  // namespace

// A place for one sequence. Its session outlives the sequence: what it holds may be another one's beginning.
struct Scheduler::Slot {
  std::unique_ptr<Session> session;
  SequenceRequest request;
  std::optional<Generator> generator;  // none: free
  uint64_t number = 0;                 // of its sequence, in order of entry
  // The tokens the session still has to take; spans request.prompt or the generator's step.
  std::span<const int32_t> due;
  bool reading = false;        // its prompt
  bool expanded = false;       // MLA form of its prompt
  int64_t prompt_rows = 0;     // first rows of the cache that are a prompt's, in that form
  Slot* source = nullptr;      // waits for its first rows...
  uint64_t source_number = 0;  // ...of this sequence...
  int64_t wanted = 0;          // ...so many
  bool forked = false;         // its first token was chosen from the source's logits
  bool chosen = false;         // there are new logits
  Status choice;
  Clock::time_point start, first_token;
};

Result<std::unique_ptr<Scheduler>> Scheduler::create(Engine& engine, int n_parallel) {
  DSR1_CHECK(n_parallel >= 1, "a scheduler without places");
  auto s = std::unique_ptr<Scheduler>(new Scheduler(engine));
  for (int i = 0; i < n_parallel; ++i) {
    auto slot = std::make_unique<Slot>();
    DSR1_TRY(slot->session, engine.new_session());
    s->slots_.push_back(std::move(slot));
  }
  s->work_.reserve(s->slots_.size());
  s->worked_.reserve(s->slots_.size());
  Scheduler* self = s.get();
  s->requests_.reserve(s->slots_.size());
  s->logits_fn_ = [self](int64_t item, std::span<const float> logits) { self->on_logits(item, logits); };
  s->sampled_fn_ = [self](int64_t item, const ops::Sampled& sampled) { self->on_sampled(item, sampled); };
  return s;
}

Scheduler::Scheduler(Engine& engine) : engine_(engine) {}
Scheduler::~Scheduler() = default;

void Scheduler::submit(SequenceRequest request) { queue_.push_back(std::move(request)); }

int Scheduler::n_free() const {
  auto n = -static_cast<int>(queue_.size());
  for (const auto& slot : slots_) n += slot->generator ? 0 : 1;
  return n;
}

bool Scheduler::idle() const { return n_free() == static_cast<int>(slots_.size()); }

Status Scheduler::step(const std::atomic<bool>* cancel, const DoneFn& done) {
  admit(done);
  compose();
  if (work_.empty()) return {};
  DSR1_TRY_STATUS(engine_.forward(work_, cancel, logits_fn_, sampled_fn_));
  commit();
  for (const auto& slot : slots_)
    if (slot->chosen) advance(*slot, done);
  return {};
}

void Scheduler::admit(const DoneFn& done) {
  for (const auto& slot : slots_) {
    while (!slot->generator && !queue_.empty()) {
      SequenceRequest request = std::move(queue_.front());
      queue_.pop_front();
      begin(*slot, std::move(request), done);
    }
  }
}

bool Scheduler::begin(Slot& slot, SequenceRequest request, const DoneFn& done) {
  const int64_t n_ctx = slot.session->n_ctx();
  if (const Status ok = check_request(engine_, request.prompt, request.options, n_ctx); !ok) {
    done(request.tag, Error(ok.error()));
    return false;
  }
  slot.request = std::move(request);
  slot.number = ++n_begun_;
  slot.start = Clock::now();
  slot.reading = true;
  slot.forked = slot.chosen = false;
  slot.generator.emplace(*engine_.tokenizer(), slot.request.prompt, slot.request.options, n_ctx, slot.request.on_token);
  look_for_prefix(slot);
  return true;
}

// The first rows of `source` that are also the first of `slot`'s prompt, whether they are there already or will be.
int64_t Scheduler::shareable(const Slot& source, const Slot& slot) const {
  const bool mla = engine_.config().is_mla();
  const bool expanded = engine_.expanded_form(0, slot.request.prompt.size());
  if (mla && source.expanded != expanded) return 0;
  const bool fills = source.generator && source.reading && &source != &slot;
  const std::span<const int32_t> tokens =
      fills ? std::span<const int32_t>(source.request.prompt) : source.session->tokens();
  // Generated tokens went through MLA's other form; without MLA both ways give the same bits.
  const auto usable = fills || !mla ? static_cast<int64_t>(tokens.size()) : source.prompt_rows;
  const auto last = static_cast<int64_t>(slot.request.prompt.size()) - 1;  // evaluated anew: its logits are needed
  return std::min({common_prefix(tokens, slot.request.prompt), usable, last});
}

// Takes what is there of a common beginning; waits where one is being read that is longer.
void Scheduler::look_for_prefix(Slot& slot) {
  const Slot* best = &slot;
  int64_t have = shareable(slot, slot), promised = 0;
  slot.source = nullptr;
  for (const auto& other : slots_) {
    if (other.get() == &slot) continue;
    const int64_t all = shareable(*other, slot);
    const int64_t now = std::min(all, other->session->n_past());
    if (now > have) {
      have = now;
      best = other.get();
    }
    if (all > now && all > promised && other->generator && other->number < slot.number) {
      promised = all;
      slot.source = other.get();
    }
  }
  // Samples of one prompt always wait: they begin with the first one's logits.
  const bool same = slot.source != nullptr && slot.source->request.prompt == slot.request.prompt;
  if (promised < have + kWorthWaiting && !same) {
    slot.source = nullptr;
    engine_.copy_prefix(*slot.session, *best->session, have);
    if (best != &slot) counts_.shared += have;
  } else {
    slot.source_number = slot.source->number;
    slot.wanted = promised;
    have = 0;
    slot.session->rewind(0);
  }
  slot.expanded = engine_.expanded_form(0, slot.request.prompt.size());
  slot.prompt_rows = have;
  slot.generator->timings().cache_n = have;
  slot.due = std::span<const int32_t>(slot.request.prompt).subspan(static_cast<size_t>(have));
  slot.generator->timings().prompt_n = static_cast<int64_t>(slot.due.size());
}

bool Scheduler::still_waiting(Slot& slot) {
  if (slot.source == nullptr) return false;
  const Slot& source = *slot.source;
  const bool goes_on = source.generator && source.number == slot.source_number && source.reading;
  if (goes_on && source.session->n_past() < slot.wanted) return true;
  look_for_prefix(slot);
  return slot.source != nullptr;
}

// The rows of the next pass: first those that generate, then prompts in their order of entry.
void Scheduler::compose() {
  work_.clear();
  worked_.clear();
  requests_.clear();
  int64_t room = engine_.n_batch();
  auto add = [&](Slot& slot, int64_t n) {
    const bool last = n == static_cast<int64_t>(slot.due.size());
    const bool expanded = slot.reading && slot.expanded;
    work_.push_back({slot.session.get(), slot.due.first(static_cast<size_t>(n)), expanded, last});
    worked_.push_back(&slot);
    // A prompt's last logits may begin other samples of it: those are looked at.
    if (const auto r = slot.reading ? std::nullopt : slot.generator->request(engine_.longest_sample_list())) {
      requests_.push_back(*r);
      work_.back().sample = &requests_.back();
    }
    room -= n;
  };
  for (const auto& slot : slots_)
    if (slot->generator && !slot->reading && room > 0)
      add(*slot, std::min<int64_t>(room, static_cast<int64_t>(slot->due.size())));
  while (room > 0) {
    Slot* next = nullptr;
    for (const auto& slot : slots_) {
      if (!slot->generator || !slot->reading || (next != nullptr && slot->number > next->number)) continue;
      if (std::find(worked_.begin(), worked_.end(), slot.get()) != worked_.end() || still_waiting(*slot)) continue;
      next = slot.get();
    }
    if (next == nullptr) break;
    add(*next, std::min<int64_t>(room, static_cast<int64_t>(next->due.size())));
  }
}

void Scheduler::on_logits(int64_t item, std::span<const float> logits) {
  Slot& slot = *worked_[static_cast<size_t>(item)];
  slot.choice = slot.generator->choose(logits);
  slot.chosen = true;
  if (!slot.reading) return;
  // Samples of one prompt that wait for this one begin with its logits.
  for (const auto& other : slots_) {
    if (!other->generator || other->source != &slot || other->source_number != slot.number) continue;
    if (other->expanded != slot.expanded || other->request.prompt != slot.request.prompt) continue;
    other->choice = other->generator->choose(logits);
    other->chosen = other->forked = true;
  }
}

void Scheduler::on_sampled(int64_t item, const ops::Sampled& sampled) {
  Slot& slot = *worked_[static_cast<size_t>(item)];
  slot.generator->choose(sampled);
  slot.choice = {};
  slot.chosen = true;
}

// What was evaluated is in the sessions now.
void Scheduler::commit() {
  ++counts_.passes;
  counts_.most_together = std::max(counts_.most_together, static_cast<int64_t>(work_.size()));
  for (size_t i = 0; i < work_.size(); ++i) {
    Slot& slot = *worked_[i];
    const size_t n = work_[i].tokens.size();
    slot.due = slot.due.subspan(n);
    if (!slot.reading) continue;
    slot.prompt_rows += static_cast<int64_t>(n);
    counts_.prompt += static_cast<int64_t>(n);
  }
  for (const auto& slot : slots_) {
    if (!slot->forked) continue;
    const Slot& source = *slot->source;
    const int64_t n = source.session->n_past();
    engine_.copy_prefix(*slot->session, *source.session, n);
    counts_.shared += n;
    slot->prompt_rows = n;
    slot->generator->timings().cache_n = n;
    slot->generator->timings().prompt_n = 0;
    slot->due = {};
    slot->source = nullptr;
    slot->forked = false;
  }
}

void Scheduler::advance(Slot& slot, const DoneFn& done) {
  slot.chosen = false;
  if (slot.reading) {
    slot.reading = false;
    slot.first_token = Clock::now();
    slot.generator->timings().prompt_ms = ms_between(slot.start, slot.first_token);
  }
  if (!slot.choice) return finish(slot, done, slot.choice);
  auto step = slot.generator->next(slot.session->tokens());
  ++counts_.generated;
  if (!step) return finish(slot, done, step.error());
  if (!*step) return finish(slot, done, {});
  slot.session->rewind((*step)->keep);
  slot.prompt_rows = std::min(slot.prompt_rows, (*step)->keep);
  slot.due = (*step)->tokens;
}

void Scheduler::finish(Slot& slot, const DoneFn& done, const Status& status) {
  slot.generator->timings().predicted_ms = ms_between(slot.first_token, Clock::now());
  if (status) {
    Generation generation = slot.generator->finish();
    slot.generator.reset();
    done(slot.request.tag, std::move(generation));
  } else {
    slot.generator.reset();
    done(slot.request.tag, Error(status.error()));
  }
  slot.request = {};
  slot.due = {};
}

}  // namespace dsr1::runtime
