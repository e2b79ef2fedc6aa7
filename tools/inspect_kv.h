// `rondo inspect --kv`: how a model keeps its cache, layer by layer, and what rondo makes of it.
#ifndef RONDO_TOOLS_INSPECT_KV_H_
#define RONDO_TOOLS_INSPECT_KV_H_

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "kvcache/lowering.h"
#include "rondo/model.h"

namespace rondo {

absl::StatusOr<KvReport> InspectKv(const std::string& path, const ModelOptions& options);
std::string KvText(const KvReport& report);
nlohmann::ordered_json KvJson(const KvReport& report);

}  // namespace rondo

#endif  // RONDO_TOOLS_INSPECT_KV_H_
