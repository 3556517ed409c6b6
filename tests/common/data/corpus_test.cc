#include "common/data/corpus.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <functional>

#include "common/config/config.h"
#include "common/data/label_table.h"
#include "tests/common/data/scratch.h"

namespace mariana {
namespace {

constexpr int kDim = 3;

// Frames of utterance u: distinct everywhere, column 2 constant over the set.
Matrix FramesOf(int u, int rows) {
  Matrix m{rows, kDim, {}};
  for (int r = 0; r < rows; ++r) {
    m.data.insert(m.data.end(), {100.0f * u + r, std::sin(1.0f + u * 10 + r), 4.0f});
  }
  return m;
}

// A set of utterances u0, u1 ... on disk: 5 + u frames each, labels = frame number, two speakers.
class Set {
 public:
  explicit Set(int n) {
    ArkWriter feats(dir / "feats.ark", dir / "feats.scp"), labels(dir / "ali.ark");
    std::string utt2spk;
    for (int u = 0; u < n; ++u) {
      const std::string key = StrCat("u", u);
      feats.Write(key, FramesOf(u, 5 + u));
      std::vector<int32_t> l;
      for (int t = 0; t < 5 + u; ++t) l.push_back(t);
      labels.Write(key, l);
      utt2spk += StrCat(key, " s", u % 2, "\n");
    }
    feats.Finish();
    labels.Finish();
    features.normalise = Normalisation::kNone;
    files.feats = dir / "feats.scp";
    files.alignments = dir / "ali.ark";
    files.utt2spk = dir.Write("utt2spk", utt2spk);
  }
  std::unique_ptr<SpeechCorpus> Open(int num_labels = 0) const {
    return SpeechCorpus::Open(files, features, policy, num_labels);
  }
  // What Open says without tolerance for bad utterances; with it, its warnings must agree.
  std::string Complaint(int num_labels = 0) {
    policy.max_bad_fraction = 0;
    const std::string message = dir.Strip(BadData([&] { Open(num_labels); }));
    policy.max_bad_fraction = 0.99;
    std::string warnings;
    const auto corpus = Open(num_labels);
    for (const std::string& w : corpus->warnings()) warnings += dir.Strip(w) + "\n";
    CHECK(message.substr(0, warnings.size()) == warnings);
    return message;
  }
  // Replaces `key`'s line of feats.scp.
  void Point(const std::string& key, const std::string& place) {
    std::string scp;
    for (const auto& [k, v] : ReadTable(files.feats)) {
      scp += StrCat(k, " ", k == key ? place : v, "\n");
    }
    dir.Write("feats.scp", scp);
  }

  Scratch dir;
  UtteranceSetSpec files;
  FeatureSpec features;
  ReadPolicy policy;
};

TEST_CASE("a corpus gives its utterances in the scp's order") {
  Set set(4);
  const auto corpus = set.Open(8);
  REQUIRE(corpus->num_utterances() == 4);
  CHECK(corpus->dim() == kDim);
  CHECK(corpus->total_frames() == 5 + 6 + 7 + 8);
  CHECK(corpus->warnings().empty());
  CHECK(corpus->id(2) == "u2");
  CHECK(corpus->speaker(3) == "s1");
  CHECK(corpus->frames(3) == 8);
  CHECK(corpus->labels(1) == std::vector<int32_t>{0, 1, 2, 3, 4, 5});
  Matrix m;
  std::vector<int32_t> labels;
  corpus->Load(2, &m, &labels);
  CHECK(m.data == FramesOf(2, 7).data);
  CHECK(labels.size() == 7);
}

TEST_CASE("utterances without labels or without features are named") {
  Set set(3);
  set.dir.Write("ali.ark", "u0 0 1 2 3 4\nu2 0 1 2 3 4 5 6\nx 1\n");
  CHECK(set.Complaint() ==
        "feats.scp: utterance \"u1\": has no labels in ali.ark\n"
        "ali.ark: utterance \"x\": has labels but is not in feats.scp (allow_extra_alignments: "
        "true permits it)\n"
        "feats.scp: 2 of 4 utterances are bad, max_bad_fraction allows 0; the first: "
        "feats.scp: utterance \"u1\": has no labels in ali.ark");
  set.policy.max_bad_fraction = 0.5;
  CHECK(set.Open()->num_utterances() == 2);
  CHECK(set.Open()->bad_utterances() == 2);
  set.policy.max_bad_fraction = 0.49;
  CHECK_THROWS(set.Open());
  set.policy.allow_extra_alignments = true;
  set.policy.max_bad_fraction = 0.34;
  CHECK(set.Open()->warnings().size() == 1);
}

TEST_CASE("wrong frame counts, dimensions and labels are named") {
  Set set(5);
  set.dir.Write("two.ark", "x [ 1 2 ]\n");
  set.Point("u3", set.dir / "two.ark:1");
  set.dir.Write("ali.ark",
                "u0 0 1 2 3 4\nu1 0 1 2 3 4 9\nu2 0 1 2 3 4 5\nu3 0\nu4 0 0 0 0 -1 0 0 0 0\n");
  CHECK(set.Complaint(9) ==
        "two.ark: utterance \"u3\": dimension 2, expected 3\n"
        "ali.ark: utterance \"u1\": label 9 of frame 5 is outside 0 to 8\n"
        "ali.ark: utterance \"u4\": label -1 of frame 4 is outside 0 to 8\n"
        "ali.ark: utterance \"u2\": 6 labels for 7 frames\n"
        "feats.scp: 4 of 5 utterances are bad, max_bad_fraction allows 0; the first: "
        "two.ark: utterance \"u3\": dimension 2, expected 3");
  set.policy.frame_tolerance = 1;
  const auto corpus = set.Open(9);
  REQUIRE(corpus->num_utterances() == 2);
  CHECK(corpus->id(1) == "u2");
  CHECK(corpus->frames(1) == 6);
  Matrix m;
  std::vector<int32_t> labels;
  corpus->Load(1, &m, &labels);
  CHECK((m.rows == 6 && m.data.size() == 6 * kDim && labels.size() == 6));
}

TEST_CASE("a truncated archive costs the utterances it lost, with or without utt2num_frames") {
  Set set(6);
  const std::string ark = ReadFile(set.dir / "feats.ark");
  set.dir.Write("feats.ark", ark.substr(0, ark.size() - 140));  // the last and part of its elder
  std::string expected;
  for (bool counts : {false, true}) {
    if (counts) set.dir.Write("utt2num_frames", "u0 5\nu1 6\nu2 7\nu3 8\nu4 9\nu5 10\n");
    const std::string message = set.Complaint();
    INFO(message);
    CHECK(message.find("feats.scp: 2 of 6 utterances are bad") != std::string::npos);
    CHECK(message.find("feats.ark: utterance \"u5\": offset ") != std::string::npos);
    CHECK(message.find("feats.ark: utterance \"u4\": truncated: needs 108 more bytes, the file "
                       "has 106") != std::string::npos);
    set.policy.max_bad_fraction = 0.5;
    CHECK(set.Open()->num_utterances() == 4);
  }
}

TEST_CASE("duplicates, missing speakers and a missing archive are named") {
  Set set(4);
  const std::string scp = ReadFile(set.files.feats);
  set.dir.Write("feats.scp", scp + scp.substr(0, scp.find('\n') + 1));
  set.Point("u2", "/no/such.ark:5");
  set.dir.Write("utt2spk", "u0 a\nu2 a\nu3 a\n");
  CHECK(set.Complaint() ==
        "feats.scp:5: utterance \"u0\": comes twice\n"
        "/no/such.ark: utterance \"u2\": cannot open: No such file or directory\n"
        "feats.scp: utterance \"u1\": has no speaker in utt2spk\n"
        "feats.scp: 3 of 4 utterances are bad, max_bad_fraction allows 0; the first: "
        "feats.scp:5: utterance \"u0\": comes twice");
}

TEST_CASE("twenty bad utterances are named, the rest counted; nothing left is always an error") {
  Set set(30);
  set.dir.Write("ali.ark", "u7 0 0 0 0 0 0 0 0 0 0 0 0\n");
  const std::string message = set.Complaint();
  CHECK(message.find("\"u19\"") != std::string::npos);
  CHECK(message.find("\"u21\"") == std::string::npos);
  CHECK(message.find("feats.scp: and 9 more bad utterances\n") != std::string::npos);
  set.dir.Write("ali.ark", "");
  set.policy.max_bad_fraction = 1;
  CHECK(BadData([&] { set.Open(); }).find("30 of 30 utterances are bad") != std::string::npos);
  set.dir.Write("feats.scp", "");
  CHECK(set.dir.Strip(BadData([&] { set.Open(); })) == "feats.scp: no utterances");
}

TEST_CASE("damage that headers do not show is named when the utterance is loaded") {
  Set set(2);
  set.dir.Write("utt2num_frames", "u0 5\nu1 7\n");
  set.dir.Write("nan.ark", "x [ 1 2 3 \n 4 nan 6 ]\n");
  set.files.alignments = "";
  Matrix m;
  // utt2num_frames is wrong about u1, which is the last and so was measured
  CHECK(set.Open()->frames(1) == 6);
  set.Point("u0", set.dir / "nan.ark:1");
  set.dir.Write("utt2num_frames", "u0 2\n");
  CHECK(set.dir.Strip(BadData([&] { set.Open()->Load(0, &m, nullptr); })) ==
        "nan.ark: utterance \"u0\": not a finite number in row 1, column 1");
}

// Mean and standard deviation by column over some utterances, in float64.
void Reference(const std::vector<int>& utterances, double mean[kDim], double deviation[kDim]) {
  for (int c = 0; c < kDim; ++c) {
    double n = 0, sum = 0, squares = 0;
    for (int u : utterances) {
      const Matrix m = FramesOf(u, 5 + u);
      for (int r = 0; r < m.rows; ++r, ++n) sum += m.row(r)[c];
    }
    mean[c] = sum / n;
    for (int u : utterances) {
      const Matrix m = FramesOf(u, 5 + u);
      for (int r = 0; r < m.rows; ++r) squares += std::pow(m.row(r)[c] - mean[c], 2);
    }
    deviation[c] = std::sqrt(squares / n);
  }
}

// Every utterance of the corpus must be normalised by the utterances that group(u) names.
void CheckNormalised(const SpeechCorpus& corpus, const std::function<std::vector<int>(int)>& group,
                     bool variance = true) {
  for (int u = 0; u < corpus.num_utterances(); ++u) {
    double mean[kDim], deviation[kDim];
    Reference(group(u), mean, deviation);
    Matrix m;
    corpus.Load(u, &m, nullptr);
    const Matrix raw = FramesOf(u, 5 + u);
    for (int r = 0; r < m.rows; ++r) {
      for (int c = 0; c < kDim; ++c) {
        const bool scaled = variance && c != 2;  // 2 is constant
        const double expected = (raw.row(r)[c] - mean[c]) / (scaled ? deviation[c] : 1);
        REQUIRE(m.row(r)[c] == Approx(expected).margin(1e-4));
      }
    }
  }
}

TEST_CASE("normalisation by utterance, speaker and globally equals a float64 reference") {
  Set set(6);
  const auto all = [](int) { return std::vector<int>{0, 1, 2, 3, 4, 5}; };
  const auto speaker = [](int u) { return std::vector<int>{u % 2, u % 2 + 2, u % 2 + 4}; };
  const auto own = [](int u) { return std::vector<int>{u}; };
  for (bool variance : {true, false}) {
    set.features.normalise_variance = variance;
    set.features.normalise = Normalisation::kUtterance;
    CheckNormalised(*set.Open(), own, variance);
    set.features.normalise = Normalisation::kSpeaker;
    CheckNormalised(*set.Open(), speaker, variance);
    set.features.normalise = Normalisation::kGlobal;
    const auto corpus = set.Open();
    std::vector<float> mean, inv_std;
    corpus->ComputeGlobalStats(&mean, &inv_std);
    corpus->SetGlobalStats(mean, inv_std);
    CheckNormalised(*corpus, all, variance);
  }
}

TEST_CASE("global statistics have the same bits for any number of threads") {
  Set set(40);
  const auto corpus = set.Open();
  std::vector<float> mean1, std1, mean3, std3;
  corpus->ComputeGlobalStats(&mean1, &std1, 1);
  corpus->ComputeGlobalStats(&mean3, &std3, 3);
  CHECK(mean1 == mean3);
  CHECK(std1 == std3);
}

// Kaldi's CMVN statistics of some utterances, as a text matrix.
std::string Stats(const std::vector<int>& utterances) {
  double n = 0, sum[kDim] = {}, squares[kDim] = {};
  for (int u : utterances) {
    const Matrix m = FramesOf(u, 5 + u);
    for (int r = 0; r < m.rows; ++r, ++n) {
      for (int c = 0; c < kDim; ++c) {
        sum[c] += m.row(r)[c];
        squares[c] += std::pow(m.row(r)[c], 2);
      }
    }
  }
  std::ostringstream out;
  out.precision(17);
  out << "[ " << sum[0] << " " << sum[1] << " " << sum[2] << " " << n << "\n"
      << squares[0] << " " << squares[1] << " " << squares[2] << " 0 ]\n";
  return out.str();
}

TEST_CASE("normalisation from cmvn.scp equals what is computed") {
  Set set(4);
  set.files.cmvn = set.dir.Write(
      "cmvn.scp", StrCat("s0 ", set.dir.Write("a", Stats({0, 2})), "\ns1 ",
                         set.dir.Write("b", Stats({1, 3})), "\nu0 ", set.dir / "a", "\nu1 ",
                         set.dir / "b", "\nu2 ", set.dir / "a", "\nu3 ", set.dir / "b", "\n"));
  const auto speaker = [](int u) { return std::vector<int>{u % 2, u % 2 + 2}; };
  set.features.normalise = Normalisation::kSpeaker;
  CheckNormalised(*set.Open(), speaker);
  set.features.normalise = Normalisation::kUtterance;
  CheckNormalised(*set.Open(), speaker);

  set.features.normalise = Normalisation::kSpeaker;
  set.dir.Write("b", "[ 1 2 3 \n 4 5 6 ]\n");
  set.dir.Write("cmvn.scp", StrCat("s1 ", set.dir / "b", "\n"));
  CHECK(set.dir.Strip(BadData([&] { set.Open(); }))
            .find("feats.scp: utterance \"u0\": \"s0\" has no statistics in cmvn.scp\n"
                  "feats.scp: utterance \"u1\": b: utterance \"s1\": CMVN statistics are 2 x 3, "
                  "expected 2 x 4\n") == 0);
}

TEST_CASE("a corpus of audio computes its features and refuses other sample rates") {
  Scratch dir;
  const std::string wav = "tests/golden/data/fbank.wav";
  UtteranceSetSpec files;
  FeatureSpec features;
  features.normalise = Normalisation::kNone;
  files.wav = dir.Write("wav.scp", "a " + wav + "\nb " + wav + "\n");
  features.fbank.sample_rate = 8000;
  features.fbank.mel_bins = 23;
  const auto corpus = SpeechCorpus::Open(files, features);
  REQUIRE(corpus->num_utterances() == 2);
  CHECK(corpus->dim() == 23);
  CHECK_FALSE(corpus->has_labels());
  Matrix m;
  corpus->Load(1, &m, nullptr);
  CHECK(m.rows == corpus->frames(1));
  ArkReader golden("tests/golden/data/fbank.ark");
  REQUIRE(golden.NextKey());
  const Matrix expected = golden.ReadMatrix();
  REQUIRE(m.data.size() == expected.data.size());
  CHECK(m.data[100] == Approx(expected.data[100]).margin(1e-3));
  features.fbank.sample_rate = 16000;
  CHECK(BadData([&] { SpeechCorpus::Open(files, features); })
            .find("fbank.wav: utterance \"a\": sample rate 8000 Hz, expected 16000 "
                  "(fbank.sample_rate)") != std::string::npos);
}

TEST_CASE("a set needs feats or wav, and not both") {
  Scratch dir;
  dir.Write("x.scp", "");
  UtteranceSetSpec files;
  const auto load = [&](const std::string& yaml) {
    files = UtteranceSetSpec();
    LoadConfigText(yaml, "job.yaml", dir.path(), {}, [&](Fields* f) { files.Describe(f); });
  };
  CHECK_THROWS_WITH(load("feats: x.scp\nwav: x.scp\n"),
                    Catch::Contains("job.yaml:2") && Catch::Contains("exclude each other"));
  CHECK_THROWS_WITH(SpeechCorpus::Open({}, {}), Catch::Contains("needs feats or wav"));
  load("feats: x.scp\n");
  CHECK(files.feats == dir / "x.scp");
}

TEST_CASE("labels past the memory limit are read from their archive when asked for") {
  Scratch dir;
  const std::string golden = "tests/golden/data/";
  const std::string ark = dir.Write("ali.ark", ReadFile(golden + "kaldi_ali.ark"));
  const auto none = [](const std::string&, const std::string& what) { FAIL(what); };
  LabelTable::Options options;
  options.in_memory = 3;  // utterance a alone
  for (const std::string& path : {ark, golden + "kaldi_ali.txt.gz"}) {
    const LabelTable table(path, options, none);
    CHECK(table.Read(table.Find("a")) == std::vector<int32_t>{1, 2, 3});
    CHECK(table.Read(table.Find("b")) == std::vector<int32_t>{0});
    CHECK(table.Read(table.Find("c"))[99] == 99);
    CHECK(table.Find("d") == -1);
  }
  const LabelTable table(ark, options, none);
  dir.Write("ali.ark", "a 1 2 3\nb 0\n");
  CHECK(table.Read(table.Find("a")).size() == 3);
  CHECK(dir.Strip(BadData([&] { table.Read(table.Find("c")); }))
            .find("ali.ark: utterance \"c\": offset ") == 0);
}

}  // namespace
}  // namespace mariana
