#include "common/config/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <map>
#include <sstream>
#include <vector>

#include "common/base/error.h"
#include "common/config/source_text.h"

namespace mariana {
namespace {

// What no honest config reaches; aliases multiply nodes ("billion laughs").
constexpr size_t kMostNodes = 100000;
constexpr size_t kDeepest = 64;
constexpr size_t kMostKeys = 1000;  // of one section

struct Unreadable {};  // thrown, after its mistake, from within yaml-cpp's parser

size_t CountNodes(const Node& node) {
  size_t n = 1;
  for (const Node& item : node.items) n += CountNodes(item);
  return n;
}

size_t DepthOf(const Node& node) {
  size_t deepest = 0;
  for (const Node& item : node.items) deepest = std::max(deepest, DepthOf(item));
  return 1 + deepest;
}

// The outermost alias is the one the user looks for.
void SetAlias(Node* node, const Place& alias) {
  const auto set = [&](Place* place) {
    place->alias_line = alias.line;
    place->alias_column = alias.column;
  };
  set(&node->place);
  for (Place& place : node->key_places) set(&place);
  for (Node& item : node->items) SetAlias(&item, alias);
}

// Builds the tree from yaml-cpp's events.
class TreeBuilder final : public YAML::EventHandler {
 public:
  TreeBuilder(const std::string& text, int source, Mistakes* mistakes)
      : source_(source), mistakes_(mistakes) {
    last_.source = source;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) lines_.push_back(line);
  }

  Node root;
  bool has_root = false;

  // yaml-cpp counts from 0, and columns in bytes.
  Place PlaceAt(const YAML::Mark& mark) const {
    Place place;
    place.source = source_;
    place.line = std::max(mark.line, 0) + 1;
    const size_t bytes = static_cast<size_t>(std::max(mark.column, 0));
    place.column = static_cast<int>(bytes) + 1;
    if (static_cast<size_t>(place.line) > lines_.size()) return place;
    const std::string& line = lines_[static_cast<size_t>(place.line) - 1];
    for (size_t i = 0; i < std::min(bytes, line.size()); ++i) {
      if ((static_cast<unsigned char>(line[i]) & 0xC0) == 0x80) --place.column;
    }
    return place;
  }

  // What a syntax error means and where it began.
  void AddSyntaxError(const YAML::Exception& e) {
    const Place place = PlaceAt(e.mark);
    const bool at_end = static_cast<size_t>(place.line) > lines_.size();
    if (at_end && e.msg == YAML::ErrorMsg::DOC_IN_SCALAR) {
      mistakes_->Add(last_, "", "not valid YAML: a quote that opens after this is never closed");
    } else {
      mistakes_->Add(at_end && !open_.empty() ? open_.back().node.place : place, "",
                     "not valid YAML: " + e.msg);
    }
  }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (!has_root) return;
    mistakes_->Add(PlaceAt(mark), "", "a second document starts here; a config is one");
    throw Unreadable();
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { Add(Leaf(mark), anchor); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override;
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    Node node = Leaf(mark);
    node.kind = Node::Kind::kScalar;
    node.text = value;
    node.quoted = tag == "!";
    CheckTag(node.place, tag);
    Add(std::move(node), anchor);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(Node::Kind::kList, mark, tag, anchor);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(Node::Kind::kMap, mark, tag, anchor);
  }
  void OnMapEnd() override { Close(); }

 private:
  // A list or map that is being read.
  struct Frame {
    Node node;
    YAML::anchor_t anchor;
    bool has_key = false;  // of a map: the key is read, its value comes next
    bool is_merge = false;
    std::string key;
    Place key_place;
    bool has_merge = false;
    Place merge_place;
    Node merge;
  };

  Node Leaf(const YAML::Mark& mark) {
    Node node;
    node.place = last_ = PlaceAt(mark);
    return node;
  }
  std::string PathHere() const;
  void CheckTag(const Place& place, const std::string& tag);
  void Open(Node::Kind kind, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor);
  void Close();
  // Counts the new nodes and checks that they fit below the open lists and maps.
  void Spend(const Place& place, size_t nodes, size_t depth);
  void Add(Node node, YAML::anchor_t anchor);
  void Put(Node node);
  void TakeKey(Node node);
  void TakeValue(Frame* frame, Node node);
  void Merge(Frame* frame);
  void MergeMap(Frame* frame, const Node& from);

  const int source_;
  Mistakes* mistakes_;
  std::vector<std::string> lines_;
  std::vector<Frame> open_;
  std::map<YAML::anchor_t, Node> anchors_;  // complete ones
  size_t nodes_ = 0;
  Place last_;  // of the last event
};

std::string TreeBuilder::PathHere() const {
  std::string path;
  for (const Frame& frame : open_) {
    if (frame.node.kind == Node::Kind::kList) {
      path = JoinKeys(path, std::to_string(frame.node.items.size()));
    } else if (frame.has_key) {
      path = JoinKeys(path, frame.key);
    }
  }
  return path;
}

void TreeBuilder::CheckTag(const Place& place, const std::string& tag) {
  if (tag.empty() || tag == "?" || tag == "!") return;
  mistakes_->Add(place, PathHere(), "has a tag (" + tag + "); tags are not for configs");
}

void TreeBuilder::Spend(const Place& place, size_t nodes, size_t depth) {
  nodes_ += nodes;
  if (nodes_ > kMostNodes) {
    mistakes_->Add(place, "",
                   StrCat("more than ", kMostNodes, " values once anchors and aliases are copied"));
    throw Unreadable();
  }
  if (open_.size() + depth > kDeepest) {
    mistakes_->Add(place, "", StrCat("nested deeper than ", kDeepest, " levels"));
    throw Unreadable();
  }
}

void TreeBuilder::OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) {
  const auto found = anchors_.find(anchor);
  const Place place = PlaceAt(mark);
  if (found == anchors_.end()) {
    mistakes_->Add(place, PathHere(), "an alias within the value that it stands for");
    throw Unreadable();
  }
  Spend(place, CountNodes(found->second), DepthOf(found->second));
  Node copy = found->second;
  SetAlias(&copy, place);
  Put(std::move(copy));
}

void TreeBuilder::Open(Node::Kind kind, const YAML::Mark& mark, const std::string& tag,
                       YAML::anchor_t anchor) {
  Frame frame;
  frame.node = Leaf(mark);
  frame.node.kind = kind;
  frame.anchor = anchor;
  CheckTag(frame.node.place, tag);
  Spend(frame.node.place, 1, 1);
  open_.push_back(std::move(frame));
}

void TreeBuilder::Close() {
  Frame frame = std::move(open_.back());
  if (frame.has_merge) Merge(&frame);
  open_.pop_back();
  if (frame.anchor != YAML::NullAnchor) {
    Spend(frame.node.place, CountNodes(frame.node), 0);
    anchors_[frame.anchor] = frame.node;
  }
  Put(std::move(frame.node));
}

void TreeBuilder::Add(Node node, YAML::anchor_t anchor) {
  Spend(node.place, 1, 1);
  if (anchor != YAML::NullAnchor) anchors_[anchor] = node;
  Put(std::move(node));
}

void TreeBuilder::Put(Node node) {
  if (open_.empty()) {
    root = std::move(node);
    has_root = true;
  } else if (open_.back().node.kind == Node::Kind::kList) {
    open_.back().node.items.push_back(std::move(node));
  } else if (open_.back().has_key) {
    TakeValue(&open_.back(), std::move(node));
  } else {
    TakeKey(std::move(node));
  }
}

void TreeBuilder::TakeKey(Node node) {
  const std::string path = PathHere();
  Frame& frame = open_.back();
  if (node.kind != Node::Kind::kScalar || node.text.empty()) {
    mistakes_->Add(node.place, path, "a key must be a word");
    node.text.clear();  // the value that follows is dropped
  }
  frame.key = node.text;
  frame.key_place = node.place;
  frame.has_key = true;
  frame.is_merge = node.text == "<<" && !node.quoted;
}

void TreeBuilder::TakeValue(Frame* frame, Node node) {
  const std::string path = PathHere();
  frame->has_key = false;
  if (frame->key.empty()) return;
  if (node.kind == Node::Kind::kNull) node.place = frame->key_place;  // else: the next token's
  const auto& keys = frame->node.keys;
  const auto same = std::find(keys.begin(), keys.end(), frame->key);
  if (same != keys.end() || (frame->is_merge && frame->has_merge)) {
    const Place& first = same == keys.end()
                             ? frame->merge_place
                             : frame->node.key_places[static_cast<size_t>(same - keys.begin())];
    mistakes_->Add(frame->key_place, path,
                   StrCat("is given twice; first at ", first.line, ":", first.column));
    return;
  }
  if (frame->is_merge) {
    frame->has_merge = true;
    frame->merge_place = frame->key_place;
    frame->merge = std::move(node);
    return;
  }
  if (keys.size() == kMostKeys) {
    mistakes_->Add(frame->key_place, path, StrCat("more than ", kMostKeys, " keys in a section"));
    throw Unreadable();
  }
  frame->node.keys.push_back(frame->key);
  frame->node.key_places.push_back(frame->key_place);
  frame->node.items.push_back(std::move(node));
}

void TreeBuilder::Merge(Frame* frame) {
  if (frame->merge.kind != Node::Kind::kList) {
    MergeMap(frame, frame->merge);
    return;
  }
  for (const Node& from : frame->merge.items) MergeMap(frame, from);
}

void TreeBuilder::MergeMap(Frame* frame, const Node& from) {
  if (from.kind != Node::Kind::kMap) {
    mistakes_->Add(from.place, JoinKeys(PathHere(), "<<"), "merges maps (sections) only");
    return;
  }
  for (size_t i = 0; i < from.items.size(); ++i) {
    if (frame->node.Find(from.keys[i])) continue;
    frame->node.keys.push_back(from.keys[i]);
    frame->node.key_places.push_back(from.key_places[i]);
    frame->node.items.push_back(from.items[i]);
  }
}

}  // namespace

std::optional<Node> ParseYaml(const std::string& text, int source, Mistakes* mistakes) {
  const size_t mistakes_before = mistakes->size();
  const std::optional<std::string> clean = CleanText(text, source, mistakes);
  if (!clean) return std::nullopt;
  const bool has_tabs = mistakes->size() > mistakes_before;
  TreeBuilder builder(*clean, source, mistakes);
  try {
    // yaml-cpp closes an open quote by itself where the text ends with a line end, and swallows
    // what was meant to follow; at an end-of-document mark it does not.
    std::istringstream in(*clean + (clean->empty() || clean->back() == '\n' ? "" : "\n") + "...\n");
    YAML::Parser parser(in);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const Unreadable&) {
    return std::nullopt;
  } catch (const YAML::Exception& e) {
    if (!has_tabs) {  // else they are why
      builder.AddSyntaxError(e);
    }
    return std::nullopt;
  }
  if (!builder.has_root) builder.root.place.source = source;
  return std::move(builder.root);
}

}  // namespace mariana
