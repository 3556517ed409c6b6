#include "common/train/import_model.h"

#include <cstring>
#include <map>

#include "common/base/error.h"

namespace mariana {
namespace {

bool StartsWith(const std::string& text, const std::string& start) {
  return text.compare(0, start.size(), start) == 0;
}

// PyTorch's count of batches behind running averages.
bool IsBatchCount(const std::string& name) {
  static const std::string kName = "num_batches_tracked";
  return name.size() >= kName.size() &&
         name.compare(name.size() - kName.size(), kName.size(), kName) == 0;
}

// "; missing: a, b" or nothing.
std::string Part(const char* what, const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) {
    out += out.empty() ? StrCat("; ", what, ": ") : ", ";
    out += name;
  }
  return out;
}

HostTensor Bf16ToF32(const HostTensor& t) {
  HostTensor out{t.name, Dtype::kF32, t.shape, std::vector<char>(2 * t.bytes.size(), '\0')};
  for (size_t i = 0; i < t.bytes.size(); i += 2) {  // the upper half, little-endian
    std::memcpy(out.bytes.data() + 2 * i + 2, t.bytes.data() + i, 2);
  }
  return out;
}

std::string Shown(const HostTensor& t) { return StrCat(Name(t.dtype), " ", t.shape.ToString()); }

// The file's tensors under the net's names.
using ByName = std::map<std::string, const HostTensor*>;
ByName Rename(const LoadedModel& from, const std::vector<ImportSpec::Rename>& map) {
  ByName out;
  std::vector<bool> used(map.size(), false);
  for (const HostTensor& t : from.tensors) {
    std::string name = t.name;
    for (size_t i = 0; i < map.size(); ++i) {
      if (!StartsWith(t.name, map[i].from)) continue;
      name = map[i].to + t.name.substr(map[i].from.size());
      used[i] = true;
      break;
    }
    const auto [it, is_new] = out.emplace(name, &t);
    if (!is_new) {
      throw Fail(ExitCode::kBadData, from.path, ": import.map makes \"", name, "\" of both \"",
                 it->second->name, "\" and \"", t.name, "\"");
    }
  }
  for (size_t i = 0; i < map.size(); ++i) {
    if (used[i]) continue;
    throw Fail(ExitCode::kBadData, from.path, ": import.map.", i, ": no tensor begins with \"",
               map[i].from, "\"", i > 0 ? " that an earlier rule has not taken" : "");
  }
  return out;
}

struct Findings {
  std::vector<std::string> missing, unexpected, different;
  bool head_differs = false;
};

std::string Complaint(const Findings& f, const std::string& head) {
  std::string text = Part("missing", f.missing) + Part("unexpected", f.unexpected) +
                     Part("different", f.different);
  std::vector<std::string> ways;
  if (f.head_differs) ways.push_back(StrCat("new_head: true starts \"", head, "\" anew"));
  if (!f.missing.empty()) ways.emplace_back("missing: init starts those anew");
  if (!f.unexpected.empty()) ways.emplace_back("unexpected: ignore leaves those out");
  ways.emplace_back("map renames");
  return "does not fit the net" + text + Part("in train.import", ways);
}

}  // namespace

void ImportSpec::Rename::Describe(Fields* f) {
  f->Text("from", &from, "How names in the file begin; empty: all of them.");
  f->Text("to", &to, "What stands there in the net's names.");
}

void ImportSpec::Describe(Fields* f) {
  f->Path("file", &file, PathKind::kInput,
          "Model with values for the net: .safetensors (torchvision's and timm's names are the "
          "zoo's), run directory or checkpoint.");
  f->List("map", &map, "Renames names in the file; the first rule that fits counts.");
  f->Choice("missing", &missing, {{"error", Missing::kError}, {"init", Missing::kInitialise}},
            "What the net has and the file has not: an error, or starts anew.");
  f->Choice("unexpected", &unexpected,
            {{"error", Unexpected::kError}, {"ignore", Unexpected::kIgnore}},
            "What the file has and the net has not.");
  f->Bool("new_head", &new_head,
          "The last layer with parameters starts anew (other classes than the file's).");
  f->Require(!file.empty() || (map.empty() && !new_head), "file", "is needed by the other keys");
}

std::string HeadOf(const NetPlan& net) {
  return net.params.empty() ? "" : net.ops[static_cast<size_t>(net.params.back().op)].name;
}

ImportedModel ImportValues(const LoadedModel& from, const ImportSpec& spec,
                           std::vector<HostTensor> fresh, const std::string& head) {
  ByName given = Rename(from, spec.map);
  Findings found;
  std::vector<std::string> anew;
  size_t imported = 0;
  for (HostTensor& t : fresh) {
    const bool of_head = StartsWith(t.name, head + ".");
    const auto it = given.find(t.name);
    const HostTensor* theirs = it == given.end() ? nullptr : it->second;
    if (theirs != nullptr) given.erase(it);
    if (of_head && spec.new_head) {
      anew.push_back(t.name);
    } else if (theirs == nullptr) {
      (spec.missing == ImportSpec::Missing::kInitialise ? anew : found.missing).push_back(t.name);
    } else if (theirs->shape != t.shape ||
               (theirs->dtype != Dtype::kF32 && theirs->dtype != Dtype::kBF16)) {
      found.different.push_back(
          StrCat(t.name, " is ", Shown(*theirs), ", not ", t.shape.ToString()));
      found.head_differs |= of_head;
    } else {
      t.bytes = theirs->dtype == Dtype::kBF16 ? Bf16ToF32(*theirs).bytes : theirs->bytes;
      ++imported;
    }
  }
  std::vector<std::string> ignored;
  for (const auto& [name, tensor] : given) {
    if (IsBatchCount(name) || (spec.new_head && StartsWith(name, head + "."))) continue;
    (spec.unexpected == ImportSpec::Unexpected::kIgnore ? ignored : found.unexpected)
        .push_back(tensor->name);
  }
  if (!found.missing.empty() || !found.unexpected.empty() || !found.different.empty()) {
    throw Fail(ExitCode::kBadData, from.path, ": ", Complaint(found, head));
  }
  if (imported == 0) {
    throw Fail(ExitCode::kBadData, from.path, ": no tensor has a name of the net's, such as \"",
               fresh.empty() ? "" : fresh.front().name, "\"; train.import.map renames");
  }
  return {std::move(fresh), StrCat(from.path, ": ", imported, " tensors", Part("new", anew),
                                   Part("left out", ignored))};
}

}  // namespace mariana
