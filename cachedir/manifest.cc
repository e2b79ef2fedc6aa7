#include "cachedir/manifest.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/container/flat_hash_set.h"
#include "graph/status.h"

namespace rondo {
namespace {

using Json = nlohmann::ordered_json;

Json ToJson(const KnownKey& known) {
  Json fields = Json::array();
  for (const auto& [field, value] : known.key.fields()) fields.push_back({field, value});
  return {{"operation", known.key.op()},
          {"fields", std::move(fields)},
          {"node", known.node},
          {"made_for", known.binding},
          {"implementation", known.implementation}};
}

KnownKey KeyFrom(const Json& json) {
  KnownKey known{PrimitiveKey(json.at("operation").get<std::string>()), json.at("node").get<std::string>(),
                 json.at("made_for").get<std::string>(), json.at("implementation").get<std::string>()};
  for (const Json& field : json.at("fields")) {
    known.key.Add(field.at(0).get<std::string>(), absl::string_view(field.at(1).get_ref<const std::string&>()));
  }
  return known;
}

}  // namespace

Digest EntryIdentity::Name(uint64_t seed) const {
  std::string text;
  for (const File& file : files) absl::StrAppend(&text, file.digest.ToHex(), "\n");
  absl::StrAppend(&text, machine, "\n", version);
  if (!weights_as.empty()) absl::StrAppend(&text, "\n", weights_as);
  return DigestOf(text, seed);
}

std::string Manifest::ToJson() const {
  Json json;
  json["rondo"] = identity.version;
  json["machine"] = identity.machine;
  if (!identity.weights_as.empty()) json["weights_as"] = identity.weights_as;
  json["created"] = created;
  json["files"] = Json::array();
  for (const EntryIdentity::File& file : identity.files) {
    json["files"].push_back({{"path", file.path}, {"bytes", file.bytes}, {"digest", file.digest.ToHex()}});
  }
  json["shapes"] = Json::array();
  for (const PlanShapes& plan : shapes) {
    Json inputs = Json::object();
    for (const auto& [name, dims] : plan) inputs[name] = std::vector<int64_t>(dims.begin(), dims.end());
    json["shapes"].push_back(std::move(inputs));
  }
  json["keys"] = Json::array();
  for (const KnownKey& key : keys) json["keys"].push_back(rondo::ToJson(key));
  // Names come from files and need not be UTF-8.
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

absl::StatusOr<Manifest> Manifest::FromJson(absl::string_view text) try {
  const Json json = Json::parse(text.begin(), text.end());
  Manifest manifest;
  manifest.identity.version = json.at("rondo").get<std::string>();
  manifest.identity.machine = json.at("machine").get<std::string>();
  manifest.identity.weights_as = json.value("weights_as", "");
  manifest.created = json.at("created").get<int64_t>();
  for (const Json& file : json.at("files")) {
    const std::optional<Digest> digest = Digest::FromHex(file.at("digest").get<std::string>());
    if (!digest.has_value()) return InvalidArgument("a digest");
    manifest.identity.files.push_back({file.at("path").get<std::string>(), file.at("bytes").get<uint64_t>(), *digest});
  }
  for (const Json& plan : json.at("shapes")) {
    PlanShapes shapes;
    for (const auto& [name, dims] : plan.items()) {
      const auto numbers = dims.get<std::vector<int64_t>>();
      shapes[name] = Dims(numbers.begin(), numbers.end());
    }
    manifest.shapes.push_back(std::move(shapes));
  }
  for (const Json& key : json.at("keys")) manifest.keys.push_back(KeyFrom(key));
  return manifest;
} catch (const Json::exception& e) {
  return InvalidArgument(e.what());
}

bool Manifest::Add(const std::vector<KnownKey>& more_keys, const std::vector<PlanShapes>& more_shapes) {
  bool added = false;
  absl::flat_hash_set<std::string> known;
  for (const KnownKey& key : keys) known.insert(key.key.ToString());
  for (const KnownKey& key : more_keys) {
    if (keys.size() >= kMaxKeys) break;
    if (!known.insert(key.key.ToString()).second) continue;
    keys.push_back(key);
    added = true;
  }
  for (const PlanShapes& plan : more_shapes) {
    if (shapes.size() >= kMaxShapes) break;
    if (std::find(shapes.begin(), shapes.end(), plan) != shapes.end()) continue;
    shapes.push_back(plan);
    added = true;
  }
  return added;
}

}  // namespace rondo
