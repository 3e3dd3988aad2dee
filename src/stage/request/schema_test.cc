#include "stage/request/schema.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/json.h"
#include "stage/request/fields.h"
#include "stage/request/schema_validator.h"

namespace tranche {
namespace {

namespace fs = std::filesystem;

const fs::path kSource = TRANCHE_SOURCE_DIR;

bool Updating() { return std::getenv("TRANCHE_UPDATE_GOLDEN") != nullptr; }

std::string Slurp(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

TEST(SpecSchema, FileIsWhatTheParserReads) {
  const fs::path path = kSource / "api/spec.schema.json";
  const std::string schema = PrintJson(SpecJsonSchema(SpecShape()));
  if (Updating()) std::ofstream(path, std::ios::binary) << schema;
  EXPECT_EQ(Slurp(path), schema)
      << "run this test with TRANCHE_UPDATE_GOLDEN=1 and read the change";
}

TEST(SpecSchema, DocsDescribeEveryKey) {
  const fs::path path = kSource / "docs/spec.md";
  const std::string begin = "<!-- keys: made from the parser's tables -->\n\n",
                    end = "\n<!-- end of keys -->";
  std::string docs = Slurp(path);
  const size_t from = docs.find(begin), to = docs.find(end);
  ASSERT_NE(from, std::string::npos);
  ASSERT_NE(to, std::string::npos);
  const std::string tables = SpecKeyTables(SpecShape());
  if (Updating()) {
    docs.replace(from + begin.size(), to - from - begin.size(), tables);
    std::ofstream(path, std::ios::binary) << docs;
  } else {
    EXPECT_EQ(docs.substr(from + begin.size(), to - from - begin.size()), tables)
        << "run this test with TRANCHE_UPDATE_GOLDEN=1 and read the change";
  }
}

TEST(SpecSchema, TakesTheExamplesAndEveryGoodSpec) {
  const Json schema = SpecJsonSchema(SpecShape());
  int seen = 0;
  for (const char* directory : {"examples", "test/golden/good"}) {
    for (const auto& entry : fs::directory_iterator(kSource / directory)) {
      if (entry.path().extension() != ".yaml") continue;
      const auto root = ParseYaml(Slurp(entry.path()));
      ASSERT_TRUE(root) << entry.path();
      EXPECT_EQ(SchemaViolation(schema, JsonOfYaml(*root)), "") << entry.path();
      ++seen;
    }
  }
  EXPECT_GE(seen, 8);
}

// One file for every key of every object, with a probe as its value on a line of its own.
struct Probe {
  std::string path;
  std::string before;  // the file up to the probe, which goes behind "key: "
  int line = 0;
  Shape shape;
};

void CollectProbes(const Shape& object, const std::string& path, const std::string& before,
                   const std::string& indent, bool first_in_item, std::vector<Probe>* probes) {
  for (const FieldShape& field : *object.fields) {
    const std::string here = before + (first_in_item ? "" : indent) + field.name + ":";
    Probe probe;
    probe.path = path + "." + field.name;
    probe.before = here + " ";
    probe.line = static_cast<int>(std::count(here.begin(), here.end(), '\n')) + 1;
    probe.shape = field.shape;
    probes->push_back(probe);
    const Shape* inner = &field.shape;
    if (inner->kind == Shape::Kind::kAnyOf) inner = &inner->of.back();
    if (inner->kind == Shape::Kind::kObject) {
      CollectProbes(*inner, probe.path, here + "\n", indent + "  ", false, probes);
    } else if (inner->kind == Shape::Kind::kList && inner->of[0].kind == Shape::Kind::kObject) {
      CollectProbes(inner->of[0], probe.path, here + "\n" + indent + "  - ", indent + "    ", true,
                    probes);
    }
  }
}

// Parser and schema agree, key by key, on what a value may look like. Names of GPUs are the
// catalog's business, of which the schema knows nothing.
TEST(SpecSchema, AgreesWithTheParserOnEveryKey) {
  const std::vector<std::string> values = {"",
                                           "~",
                                           "true",
                                           "\"true\"",
                                           "yes",
                                           "0",
                                           "1",
                                           "2",
                                           "-1",
                                           "1.5",
                                           "0.5",
                                           "1.0",
                                           "1e30",
                                           ".nan",
                                           ".inf",
                                           "\"1\"",
                                           "\"0.5\"",
                                           "abc",
                                           "ABC",
                                           "\"\"",
                                           "' '",
                                           "a b",
                                           "-a",
                                           "A_b",
                                           "10GiB",
                                           "0GiB",
                                           "10 GiB",
                                           "10gib",
                                           "1.5.5GiB",
                                           "30%",
                                           "0%",
                                           "8h",
                                           "0.5h",
                                           "1h30m",
                                           "1h 30m",
                                           "300",
                                           "300ms",
                                           ".ms",
                                           "7B",
                                           "8.03B",
                                           ".5T",
                                           "7b",
                                           "7.B",
                                           "8030000000",
                                           "1e9",
                                           "/",
                                           "/phi",
                                           "/phi/",
                                           "/a/b",
                                           "/a/../b",
                                           "/./a",
                                           "/..a",
                                           "//",
                                           "\"/a b\"",
                                           "~/x",
                                           "./x",
                                           "[a]",
                                           "[]",
                                           "[1, true, b]",
                                           "[[a]]",
                                           "[null]",
                                           "{}",
                                           "{a: 1}",
                                           "{a: {}}",
                                           "{1a: b}",
                                           "none",
                                           "low",
                                           "hardware",
                                           "cooperative",
                                           "vllm",
                                           "llama.cpp",
                                           "mig",
                                           "time-slicing",
                                           "fp8",
                                           "int4",
                                           "stop",
                                           "batch",
                                           "USD",
                                           "EURO",
                                           "{request: 1GiB, limit: 2GiB}",
                                           "{request: 1GiB}",
                                           "{request: 10%, limit: 0.5}",
                                           "{ttft_p99: 1s}",
                                           "{memory: hardware}",
                                           "{memory: 1GiB}",
                                           "{jitter: low}",
                                           "{requests_per_second: 1}",
                                           "{parameters: 7B}",
                                           "{name: phi-4}",
                                           "[{name: a}]",
                                           "[{}]",
                                           "[{name: a, weight: 1}]",
                                           "[{name: a}, 1]"};
  const auto catalog = Catalog::Load();
  ASSERT_TRUE(catalog);
  std::vector<Probe> probes;
  CollectProbes(SpecShape(), "", "", "", false, &probes);
  ASSERT_GT(probes.size(), 60u);
  int taken = 0;
  for (const Probe& probe : probes) {
    // Wrapped in a property, so that the schema of the value stands alone.
    const Shape holder = [&] {
      Shape shape;
      shape.kind = Shape::Kind::kObject;
      shape.fields = std::make_shared<std::vector<FieldShape>>(
          std::vector<FieldShape>{{"value", probe.shape, true, "", ""}});
      return shape;
    }();
    const Json schema = SpecJsonSchema(holder);
    for (const std::string& value : values) {
      const auto root = ParseYaml(probe.before + value + "\n");
      ASSERT_TRUE(root) << probe.before + value;
      Mistakes mistakes("probe.yaml");
      const std::string directory = "/specs";
      ReadContext context{mistakes, **catalog, directory};
      ReadFields(context, "the spec", *root, SpecFields());
      std::string complaint;
      for (const Diagnostic& diagnostic : mistakes.Take()) {
        if (diagnostic.line == probe.line &&
            diagnostic.message.find("has no '") == std::string::npos) {
          complaint = diagnostic.message;
        } else if (diagnostic.line == probe.line &&
                   diagnostic.column >=
                       static_cast<int>(probe.before.size() - probe.before.rfind('\n'))) {
          complaint = diagnostic.message;  // missing inside the probe
        }
      }
      const auto alone = ParseYaml("value: " + value + "\n");
      ASSERT_TRUE(alone);
      const std::string violation = SchemaViolation(schema, JsonOfYaml(*alone));
      // How long a duration may be cannot be said in a pattern.
      const bool too_long =
          probe.shape.what == "a duration" && complaint.find(" is outside ") != std::string::npos;
      const bool catalog_decides = complaint.find("catalog") != std::string::npos ||
                                   complaint.find("names no single") != std::string::npos;
      taken += complaint.empty();
      if (!catalog_decides && !too_long) {
        EXPECT_EQ(complaint.empty(), violation.empty())
            << probe.path << ": " << value << "\nparser: " << complaint
            << "\nschema: " << violation;
      }
    }
  }
  EXPECT_GT(taken, 100);
}

TEST(SpecSchema, ValidatorRefusesWhatIsWrong) {
  const Json schema = SpecJsonSchema(SpecShape());
  for (const char* text : {"[]", "{}", "{version: 1}", "{version: 2, workloads: [{name: a}]}",
                           "{version: 1, workloads: []}", "{version: 1, workloads: [{name: A}]}",
                           "{version: 1, workloads: [{name: a, x: 1}]}"}) {
    EXPECT_NE(SchemaViolation(schema, JsonOfYaml(*ParseYaml(text))), "") << text;
  }
  EXPECT_EQ(SchemaViolation(schema, JsonOfYaml(*ParseYaml("{version: 1, workloads: [{name: a}]}"))),
            "");
}

}  // namespace
}  // namespace tranche
