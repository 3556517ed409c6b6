#include <glog/logging.h>
#include <lmdb.h>
#include <sys/stat.h>

#include <cctype>
#include <filesystem>
#include <map>

#include "common/base/error.h"
#include "common/data/images/datum.h"
#include "common/data/images/open_images.h"

namespace mariana {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kBlockRecords = 256;  // that lie together in the file

// An LMDB environment with one read transaction, which stays open: the pages that values lie on
// keep their place and contents, whoever writes meanwhile.
class Environment {
 public:
  explicit Environment(const std::string& path) : path_(path) {
    const bool folder = fs::is_directory(path);
    const std::string file = folder ? path + "/data.mdb" : path;
    if (!fs::exists(file)) {
      throw Fail(ExitCode::kBadData, path, ": no LMDB there (expected a folder with data.mdb)");
    }
    Check(mdb_env_create(&env_));
    const unsigned flags = MDB_RDONLY | MDB_NOTLS | (folder ? 0 : MDB_NOSUBDIR);
    int error = mdb_env_open(env_, path.c_str(), flags, 0664);
    // A read-only file system has no room for a lock, and no writers either.
    if (error == EROFS || error == EACCES) {
      mdb_env_close(env_);
      Check(mdb_env_create(&env_));
      error = mdb_env_open(env_, path.c_str(), flags | MDB_NOLOCK, 0664);
    }
    CheckClosing(error);
    CheckWhole(file);
    CheckClosing(mdb_txn_begin(env_, nullptr, MDB_RDONLY, &txn_));
    CheckClosing(mdb_dbi_open(txn_, nullptr, 0, &dbi_));
  }
  ~Environment() { Close(); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

  // f(key, value) in the order of keys; both live as long as the environment.
  template <class F>
  void ForEach(F f) {
    MDB_cursor* cursor = nullptr;
    Check(mdb_cursor_open(txn_, dbi_, &cursor));
    const std::unique_ptr<MDB_cursor, void (*)(MDB_cursor*)> closing(cursor, mdb_cursor_close);
    MDB_val key, value;
    int error = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    for (; error == MDB_SUCCESS; error = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
      f(std::string_view(static_cast<const char*>(key.mv_data), key.mv_size),
        std::string_view(static_cast<const char*>(value.mv_data), value.mv_size));
    }
    if (error != MDB_NOTFOUND) Check(error);
  }

 private:
  void Check(int error) const {
    if (error != MDB_SUCCESS) {
      throw Fail(ExitCode::kBadData, path_, ": LMDB cannot be read: ", mdb_strerror(error));
    }
  }
  // In the constructor, where no destructor follows.
  void CheckClosing(int error) {
    if (error != MDB_SUCCESS) Close();
    Check(error);
  }
  // Reading mapped pages that a file cut short does not have would end the process.
  void CheckWhole(const std::string& file) {
    MDB_envinfo info;
    MDB_stat stat;
    CheckClosing(mdb_env_info(env_, &info));
    CheckClosing(mdb_env_stat(env_, &stat));
    const uint64_t needed = (uint64_t{info.me_last_pgno} + 1) * stat.ms_psize;
    const uint64_t size = fs::file_size(file);
    if (size >= needed) return;
    Close();
    throw Fail(ExitCode::kBadData, file, ": is cut short: ", size, " bytes of ", needed);
  }
  void Close() {
    if (txn_ != nullptr) mdb_txn_abort(txn_);
    if (env_ != nullptr) mdb_env_close(env_);
    txn_ = nullptr;
    env_ = nullptr;
  }

  const std::string path_;
  MDB_env* env_ = nullptr;
  MDB_txn* txn_ = nullptr;
  MDB_dbi dbi_ = 0;
};

bool IsText(std::string_view key) {
  for (unsigned char c : key) {
    if (std::isprint(c) == 0) return false;
  }
  return !key.empty();
}

class LmdbImages : public StoredImages {
 public:
  LmdbImages(const std::string& path, SetProblems* problems) : path_(path), environment_(path) {
    std::map<std::string, std::vector<Record>, std::less<>> by_class;  // of plain images
    int64_t n = 0;
    environment_.ForEach([&](std::string_view key, std::string_view value) {
      try {
        AddRecord(key, value, n++, &by_class);
      } catch (const Error& e) {
        problems->Add(StrCat(path_, ": key \"", KeyText(key, n - 1), "\": ", e.message()));
      }
    });
    if (!records_.empty() && !by_class.empty()) {
      throw Fail(ExitCode::kBadData, path, ": holds both Datum records and plain images");
    }
    std::vector<std::string> names;
    for (auto& [name, records] : by_class) {
      for (Record& r : records) {
        r.label = static_cast<int32_t>(names.size());
        records_.push_back(r);
      }
      names.push_back(name);
    }
    for (size_t i = 0; i < records_.size(); ++i) {
      if (static_cast<int64_t>(i) % kBlockRecords == 0) BeginBlock();
      AddClass(records_[i].label);
    }
    EndBlocks();
    if (names.empty()) {
      NumberClasses();
    } else {
      NameClasses(std::move(names));
    }
  }

  std::string id(int64_t i) const override { return KeyText(record(i).key, record(i).number); }
  std::string where(int64_t i) const override { return StrCat(path_, ": key \"", id(i), "\""); }
  void Read(int64_t i, ImageBytes* bytes) const override {
    const std::string_view value = record(i).value;
    if (!record(i).plain) {
      try {
        return DatumToImage(ParseDatum(value), bytes);
      } catch (const Error& e) {
        throw Fail(e.code(), where(i), ": ", e.message());
      }
    }
    bytes->channels = bytes->width = bytes->height = 0;
    bytes->bytes.assign(value.begin(), value.end());
  }

 private:
  struct Record {
    std::string_view key, value;  // in the map
    int64_t number;
    int32_t label;
    bool plain;
  };

  const Record& record(int64_t i) const { return records_[static_cast<size_t>(i)]; }
  static std::string KeyText(std::string_view key, int64_t number) {
    return IsText(key) ? std::string(key) : StrCat("record ", number);
  }

  void AddRecord(std::string_view key, std::string_view value, int64_t number,
                 std::map<std::string, std::vector<Record>, std::less<>>* by_class) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(value.data());
    if (ImageFormat(bytes, value.size()).empty()) {
      const Datum datum = ParseDatum(value);
      if (datum.label < 0 || datum.label >= kMaxClasses) {
        throw Fail(ExitCode::kBadData, "label ", datum.label, " is outside 0 to ", kMaxClasses - 1);
      }
      records_.push_back({key, value, number, static_cast<int32_t>(datum.label), false});
      return;
    }
    const size_t slash = key.find('/');
    if (!IsText(key) || slash == 0 || slash == std::string_view::npos) {
      throw Fail(ExitCode::kBadData, "a plain image needs a key CLASS/NAME");
    }
    (*by_class)[std::string(key.substr(0, slash))].push_back({key, value, number, 0, true});
  }

  const std::string path_;
  Environment environment_;
  std::vector<Record> records_;
};

}  // namespace

std::unique_ptr<StoredImages> OpenLmdb(const std::string& path, SetProblems* problems) {
  return std::make_unique<LmdbImages>(path, problems);
}

}  // namespace mariana
