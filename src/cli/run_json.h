// A generation as JSON, with the field names of docs/cli.md.
#pragma once

#include <string>

#include "dsr1/base/json.h"
#include "dsr1/runtime/generate.h"

namespace dsr1::cli {

// tokens ... timings, without model and seed.
Json generation_json(const runtime::Generation& generation);
// One line of --json-stream; redacted: without id and logprob, which would tell what the text does not.
std::string event_line(const runtime::TokenEvent& event, bool redacted);

}  // namespace dsr1::cli
