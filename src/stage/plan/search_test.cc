#include "stage/plan/search.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <array>
#include <cmath>

#include "decide/geometry/packing.h"
#include "stage/plan/fleet_search.h"
#include "stage/plan/testing.h"

namespace tranche::planning {
namespace {

const MigGeometry& H100() {
  static const MigGeometry geometry =
      *MigGeometry::Make((*TestCatalog().FindGpu("H100-SXM5-80GB"))->mig_profiles);
  return geometry;
}

Option MigOption(const std::string& profile) {
  const int index = *H100().Find(profile);
  Option option;
  option.mechanism = Mechanism::kMig;
  option.profile = index;
  option.memory = H100().profile(index).memory;
  option.memory_share = H100().profile(index).placements.front().size / 8.0;
  option.compute_share = H100().profile(index).compute_slices / 7.0;
  return option;
}

Option WholeOption() {
  Option option;
  option.memory = GiB(79);
  return option;
}

Option SharedOption(uint64_t memory) {
  Option option;
  option.mechanism = Mechanism::kTimeSlicing;
  option.memory = Bytes{memory};
  option.memory_share = static_cast<double>(memory) / 80;
  option.compute_share = 0;
  return option;
}

// Every assignment of every item to every bin and option, without any cleverness.
class BruteForce {
 public:
  explicit BruteForce(const SearchProblem& problem)
      : problem_(problem), bins_(problem.bins.size()) {}

  // All that an answer is judged by, in the order in which it counts: its price, what it changes of
  // what is there, what it takes, what it sets up, and the power. In whole numbers, so that they
  // compare exactly.
  using Merit = std::array<int64_t, 5>;

  // The least price, or nothing when nothing fits.
  std::optional<double> Run() {
    Visit(0);
    return best_;
  }
  // The best of all, after Run.
  const std::optional<Merit>& best_merit() const { return best_merit_; }

  // What an assignment that is legal costs, or nothing.
  std::optional<double> PriceOf(const std::vector<Choice>& choices) {
    return PutAll(choices) ? std::optional(Price()) : std::nullopt;
  }
  std::optional<Merit> MeritOf(const std::vector<Choice>& choices) {
    return PutAll(choices) ? std::optional(MeritNow()) : std::nullopt;
  }

 private:
  bool PutAll(const std::vector<Choice>& choices) {
    for (size_t i = 0; i < choices.size(); ++i) {
      const size_t b = static_cast<size_t>(choices[i].bins.front());
      const ItemClass& item = problem_.classes[static_cast<size_t>(problem_.items[i])];
      Put(item, item.options.at(problem_.bins[b].type)[static_cast<size_t>(choices[i].option)], b);
      if (!Legal(b)) return false;
    }
    return true;
  }

  struct Contents {
    std::vector<int> profiles;
    int whole = 0;
    uint64_t shared = 0;
    int tenants = 0;
    bool firm = false;  // somebody who may not be on spot
    double waste = 0;
    bool used() const { return whole + tenants > 0 || !profiles.empty(); }
  };

  Merit MeritNow() const {
    Merit merit = {std::llround(Price() * 1000), static_cast<int64_t>(problem_.items.size())};
    for (size_t b = 0; b < bins_.size(); ++b) {
      const Contents& in = bins_[b];
      if (!in.used()) continue;
      const Bin& bin = problem_.bins[b];
      int64_t taken_over = 0;
      for (int p = 0; p < Occupancy::kMaxProfiles; ++p) {
        taken_over += std::min<int64_t>(std::count(in.profiles.begin(), in.profiles.end(), p),
                                        bin.reusable[static_cast<size_t>(p)]);
      }
      const bool mig = !in.profiles.empty();
      merit[1] += (bin.mig_on && !mig ? 1000 : 0) - taken_over;
      merit[2] += std::llround(in.waste * 1000);
      merit[3] +=
          (!bin.mig_on && mig ? 1000 : 0) + static_cast<int64_t>(in.profiles.size()) - taken_over;
      merit[4] += std::llround(bin.watts);
    }
    return merit;
  }

  bool Legal(size_t b) const {
    const Contents& in = bins_[b];
    if (in.whole + in.tenants > 0 && problem_.bins[b].taken.slots != 0) return false;
    if (in.whole > 0) return in.whole == 1 && in.profiles.empty() && in.tenants == 0;
    if (in.tenants > 0) return in.profiles.empty() && in.shared <= problem_.bins[b].memory;
    return in.profiles.empty() ||
           CanPlace(*problem_.bins[b].geometry, in.profiles, problem_.bins[b].taken).has_value();
  }

  double Price() const {
    double price = 0;
    for (size_t b = 0; b < bins_.size(); ++b) {
      const Contents& in = bins_[b];
      if (in.whole + in.tenants == 0 && in.profiles.empty()) continue;
      const Bin& bin = problem_.bins[b];
      price += in.firm ? bin.price : std::min(bin.price, bin.spot_price);
    }
    return price;
  }

  void Put(const ItemClass& item, const Option& option, size_t b) {
    bins_[b].firm = bins_[b].firm || !item.preemptible;
    const double share = std::max(option.memory_share, option.compute_share);
    const bool mig = option.mechanism == Mechanism::kMig;
    bins_[b].waste += mig ? option.memory_share : std::ceil(share * 8 - 1e-9) / 8;
    if (option.mechanism == Mechanism::kMig) {
      bins_[b].profiles.push_back(option.profile);
    } else if (option.mechanism == Mechanism::kExclusive) {
      ++bins_[b].whole;
    } else {
      ++bins_[b].tenants;
      bins_[b].shared += option.memory.value;
    }
  }

  void Visit(size_t i) {
    if (i == problem_.items.size()) {
      if (!best_ || Price() < *best_) best_ = Price();
      if (!best_merit_ || MeritNow() < *best_merit_) best_merit_ = MeritNow();
      return;
    }
    const ItemClass& item = problem_.classes[static_cast<size_t>(problem_.items[i])];
    for (size_t b = 0; b < bins_.size(); ++b) {
      const auto options = item.options.find(problem_.bins[b].type);
      if (options == item.options.end()) continue;
      for (const Option& option : options->second) {
        const Contents before = bins_[b];
        Put(item, option, b);
        if (Legal(b)) Visit(i + 1);
        bins_[b] = before;
      }
    }
  }

  const SearchProblem& problem_;
  std::vector<Contents> bins_;
  std::optional<double> best_;
  std::optional<Merit> best_merit_;
};

SearchProblem RandomProblem() {
  SearchProblem problem;
  const int bins = *rc::gen::inRange(1, 4);
  const int types = *rc::gen::inRange(1, 3);
  const int spot_type = *rc::gen::inRange(-1, 2);
  for (int b = 0; b < bins; ++b) {
    Bin bin;
    bin.type = *rc::gen::inRange(0, types);
    bin.price = bin.type == 0 ? 1 : 2.5;
    if (bin.type == spot_type) bin.spot_price = 0.5;
    bin.memory = 80;
    bin.geometry = &H100();
    if (bin.type == 1) H100().Add({*H100().Find("1g.10gb"), {1, 1}}, &bin.taken);
    problem.bins.push_back(bin);
  }
  const int classes = *rc::gen::inRange(1, 4);
  for (int c = 0; c < classes; ++c) {
    ItemClass item;
    for (int type = 0; type < types; ++type) {
      std::vector<Option> options;
      const int kind = *rc::gen::inRange(0, 6);
      if (kind == 0) options.push_back(WholeOption());
      if (kind == 1)
        options.push_back(SharedOption(static_cast<uint64_t>(*rc::gen::inRange(5, 60))));
      if (kind >= 2) {
        const auto profile = *rc::gen::elementOf(
            std::vector<std::string>{"1g.10gb", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb"});
        options.push_back(MigOption(profile));
        if (kind == 5) options.push_back(WholeOption());
      }
      item.options.emplace(type, options);
    }
    item.preemptible = *rc::gen::arbitrary<bool>();
    problem.classes.push_back(item);
  }
  const int items = *rc::gen::inRange(1, 7);
  for (int i = 0; i < items; ++i) problem.items.push_back(*rc::gen::inRange(0, classes));
  return problem;
}

RC_GTEST_PROP(SearchProperty, FindsWhatABruteForceFindsAtTheSamePrice, ()) {
  const SearchProblem problem = RandomProblem();
  SearchAnswer answer;
  const SearchOutcome outcome = Search(problem, {}, &answer);
  const std::optional<double> best = BruteForce(problem).Run();
  RC_ASSERT((outcome == SearchOutcome::kFound) == best.has_value());
  if (!best) return;
  RC_ASSERT(std::abs(answer.price - *best) < 1e-9);
  RC_ASSERT(answer.exact);
  RC_ASSERT(answer.choices.size() == problem.items.size());
}

// As MIG is on or off, draws more or less, and has instances that nobody holds.
SearchProblem WithWhatIsThere(SearchProblem problem) {
  for (int type = 0; type < 2; ++type) {
    const bool mig_on = type == 1 || *rc::gen::arbitrary<bool>();
    const double watts = *rc::gen::inRange(3, 6) * 100;
    Bin there;
    if (mig_on && *rc::gen::arbitrary<bool>()) {
      const auto profile =
          *rc::gen::elementOf(std::vector<std::string>{"1g.10gb", "1g.20gb", "2g.20gb", "3g.40gb"});
      there.reusable[static_cast<size_t>(*H100().Find(profile))] = 1;
      there.left_over = {{*H100().Find(profile), {4, profile == "3g.40gb" ? 4 : 1}}};
    }
    for (Bin& bin : problem.bins) {
      if (bin.type != type) continue;
      bin.mig_on = mig_on;
      bin.watts = watts;
      bin.price = 1;  // so that the rest decides
      bin.reusable = there.reusable;
      bin.left_over = there.left_over;
    }
  }
  return problem;
}

RC_GTEST_PROP(SearchProperty, EachLevelDecidesAmongEqualsOfTheOneBefore, ()) {
  const SearchProblem problem = WithWhatIsThere(RandomProblem());
  SearchAnswer answer;
  const SearchOutcome outcome = Search(problem, {.polishing = 200000}, &answer);
  BruteForce all(problem);
  all.Run();
  RC_ASSERT((outcome == SearchOutcome::kFound) == all.best_merit().has_value());
  if (outcome != SearchOutcome::kFound) return;
  RC_ASSERT(BruteForce(problem).MeritOf(answer.choices) == all.best_merit());
}

RC_GTEST_PROP(SearchProperty, ForFleetsFindsTheSame, ()) {
  // Also where types cost the same, so that what is on one may go on another.
  const SearchProblem problem =
      *rc::gen::arbitrary<bool>() ? RandomProblem() : WithWhatIsThere(RandomProblem());
  const SearchAnswer answer = SearchFleet(problem);
  const std::optional<double> best = BruteForce(problem).Run();
  const bool all = std::none_of(answer.choices.begin(), answer.choices.end(),
                                [](const Choice& choice) { return choice.bins.empty(); });
  RC_ASSERT(all == best.has_value());
  if (!best) return;
  RC_ASSERT(std::abs(answer.price - *best) < 1e-9);
  RC_ASSERT(answer.lower_bound <= answer.price + 1e-9);
  RC_ASSERT(BruteForce(problem).PriceOf(answer.choices) == best);
}

TEST(Search, SevenSmallOnesFillAGpuAndEightNeedAnother) {
  SearchProblem problem;
  Bin bin;
  bin.geometry = &H100();
  problem.bins = {bin, bin};
  problem.classes.resize(1);
  problem.classes[0].options[0] = {MigOption("1g.10gb")};
  problem.items.assign(7, 0);
  SearchAnswer answer;
  ASSERT_EQ(Search(problem, {}, &answer), SearchOutcome::kFound);
  EXPECT_EQ(answer.price, 1);
  problem.items.assign(8, 0);
  ASSERT_EQ(Search(problem, {}, &answer), SearchOutcome::kFound);
  EXPECT_EQ(answer.price, 2);
  problem.items.assign(15, 0);
  EXPECT_EQ(Search(problem, {}, &answer), SearchOutcome::kImpossible);
}

TEST(Search, AGpuWithInstancesThatStayTakesNothingButSlices) {
  SearchProblem problem;
  Bin divided;
  divided.geometry = &H100();
  divided.memory = 80;
  H100().Add({*H100().Find("1g.10gb"), {1, 1}}, &divided.taken);
  problem.bins = {divided};
  problem.classes.resize(1);
  problem.items = {0};
  SearchAnswer answer;
  for (const Option& undivided : {WholeOption(), SharedOption(10)}) {
    problem.classes[0].options[0] = {undivided};
    EXPECT_EQ(Search(problem, {}, &answer), SearchOutcome::kImpossible);
  }
  problem.classes[0].options[0] = {MigOption("3g.40gb")};
  EXPECT_EQ(Search(problem, {}, &answer), SearchOutcome::kFound);
}

TEST(Search, SeveralGpusAreOfOneType) {
  SearchProblem problem;
  Bin a, b;
  b.type = 1;
  problem.bins = {a, b, b};
  problem.classes.resize(1);
  problem.classes[0].gpus = 2;
  problem.classes[0].options[0] = {WholeOption()};
  problem.classes[0].options[1] = {WholeOption()};
  problem.items = {0};
  SearchAnswer answer;
  ASSERT_EQ(Search(problem, {}, &answer), SearchOutcome::kFound);
  EXPECT_EQ(answer.choices[0].bins, (std::vector<int>{1, 2}));
}

TEST(Search, SaysWhenItGaveUp) {
  SearchProblem problem;
  Bin bin;
  bin.memory = 80;
  problem.bins.assign(6, bin);
  // Seven of which no two go together, which the sum of their sizes does not show.
  for (int i = 0; i < 7; ++i) {
    ItemClass item;
    item.options[0] = {SharedOption(static_cast<uint64_t>(41 + i))};
    problem.classes.push_back(item);
    problem.items.push_back(i);
  }
  SearchAnswer answer;
  EXPECT_EQ(Search(problem, {}, &answer), SearchOutcome::kImpossible);
  EXPECT_EQ(Search(problem, {.nodes = 3}, &answer), SearchOutcome::kGaveUp);
}

// ---- cost, then changes, then fragmentation, then energy ----

// Two GPUs at one price; who is placed may go on either.
struct Two {
  SearchProblem problem;
  Bin& bin(size_t b) { return problem.bins[b]; }
  std::vector<Option>& options(int type) { return problem.classes[0].options[type]; }
  int Chosen() {
    SearchAnswer answer;
    EXPECT_EQ(Search(problem, {}, &answer), SearchOutcome::kFound);
    return answer.choices[0].bins.front();
  }
  // Fleets are held to the same order.
  int ChosenOfFleet() { return SearchFleet(problem).choices[0].bins.front(); }
};

Two TwoGpus() {
  Two two;
  Bin bin;
  bin.memory = 80;
  bin.geometry = &H100();
  bin.mig_on = true;
  two.problem.bins = {bin, bin};
  two.problem.bins[1].type = 1;
  two.problem.classes.resize(1);
  two.problem.items = {0};
  return two;
}

TEST(SearchOrder, APriceDecidesBeforeChanges) {
  Two two = TwoGpus();
  two.options(0) = {SharedOption(10)};  // switches MIG off
  two.options(1) = {MigOption("1g.10gb")};
  EXPECT_EQ(two.Chosen(), 1);
  EXPECT_EQ(two.ChosenOfFleet(), 1);
  two.bin(0).price = 0.9;
  EXPECT_EQ(two.Chosen(), 0);
  EXPECT_EQ(two.ChosenOfFleet(), 0);
}

TEST(SearchOrder, FewerChangesDecideBeforeFragmentation) {
  Two two = TwoGpus();
  two.options(0) = {MigOption("2g.20gb")};
  two.options(1) = {MigOption("1g.10gb")};
  EXPECT_EQ(two.Chosen(), 1) << "nothing is there: the least of a GPU";
  EXPECT_EQ(two.ChosenOfFleet(), 1);
  // An instance of the larger one is left over; with the smaller one it would be destroyed.
  const int larger = *H100().Find("2g.20gb");
  two.bin(0).reusable[static_cast<size_t>(larger)] = 1;
  two.bin(0).left_over = {{larger, {4, 2}}};
  EXPECT_EQ(two.Chosen(), 0);
  EXPECT_EQ(two.ChosenOfFleet(), 0);
  // To switch MIG off is a change, too, however little is taken then.
  Two off = TwoGpus();
  off.options(0) = {SharedOption(10)};
  off.options(1) = {MigOption("4g.40gb")};
  EXPECT_EQ(off.Chosen(), 1);
  EXPECT_EQ(off.ChosenOfFleet(), 1);
  off.bin(0).mig_on = false;
  EXPECT_EQ(off.Chosen(), 0);
  EXPECT_EQ(off.ChosenOfFleet(), 0);
}

TEST(SearchOrder, LessFragmentationDecidesBeforeWorkAndEnergy) {
  Two two = TwoGpus();
  two.bin(0).watts = 300;
  two.bin(1).watts = 700;
  two.bin(1).mig_on = false;  // nobody is on it: switching it on changes nothing that runs
  two.options(0) = {MigOption("2g.20gb")};
  two.options(1) = {MigOption("1g.10gb")};
  EXPECT_EQ(two.Chosen(), 1);
  EXPECT_EQ(two.ChosenOfFleet(), 1);
}

// Of as much of a GPU taken: what the policy values of the rest.
TEST(SearchOrder, TheValueOfWhatIsLeftDecidesBeforeEnergy) {
  Two two = TwoGpus();
  two.bin(0).watts = 300;
  two.bin(1).watts = 700;
  // On the first only the half is free in which a 4g could be.
  H100().Add({*H100().Find("3g.40gb"), {4, 4}}, &two.bin(0).taken);
  two.options(0) = two.options(1) = {MigOption("2g.20gb")};
  EXPECT_EQ(two.Chosen(), 0) << "without a value, energy";
  std::vector<placement::MigShape> shapes;
  std::vector<double> asked;
  for (const MigProfile& profile : H100().profiles()) {
    shapes.push_back({profile.compute_slices, profile.placements.front().size, {}});
    for (const MigPlacement at : profile.placements) shapes.back().starts.push_back(at.start);
    asked.push_back(profile.name == "4g.40gb" ? 20 : profile.name == "2g.20gb" ? 1 : 0);
  }
  const auto value = std::make_shared<const placement::SliceValue>(8, 7, shapes, asked);
  two.problem.slice_values = {{0, value}, {1, value}};
  EXPECT_EQ(two.Chosen(), 1);
}

TEST(SearchOrder, WorkDecidesBeforeEnergyAndEnergyLast) {
  Two two = TwoGpus();
  two.options(0) = two.options(1) = {MigOption("1g.10gb")};
  for (const auto& [first, second] : {std::pair(300, 700), {700, 300}}) {
    two.bin(0).watts = first;
    two.bin(1).watts = second;
    two.bin(0).mig_on = two.bin(1).mig_on = true;
    EXPECT_EQ(two.Chosen(), first < second ? 0 : 1);
    EXPECT_EQ(two.ChosenOfFleet(), first < second ? 0 : 1);
    two.bin(0).mig_on = false;
    EXPECT_EQ(two.Chosen(), 1);
    EXPECT_EQ(two.ChosenOfFleet(), 1);
  }
}

// The policy of `simulate` and of the daemon's leases, where a layout costs the same either way.
TEST(Search, OfBinsThatCostTheSameTakesTheOneThatKeepsRoom) {
  SearchProblem problem;
  Bin bin;
  bin.memory = 100;
  bin.use = BinUse::kShared;
  bin.tenants = 1;
  bin.memory_used = 40;
  problem.bins.push_back(bin);
  bin.memory_used = 55;
  problem.bins.push_back(bin);
  ItemClass item;
  Option option = SharedOption(30);
  option.memory_share = 0.3;
  item.options[0] = {option};
  problem.classes = {item};
  problem.items = {0};
  SearchAnswer answer;
  ASSERT_EQ(Search(problem, {}, &answer), SearchOutcome::kFound);
  EXPECT_EQ(answer.choices[0].bins.front(), 1) << "nothing is known: the fullest";
  // Beside 55, 15 would be left that nobody wants; beside 40, another 30.
  problem.share_values.emplace(0, placement::ShareValue({{450, 10}, {300, 10}}));
  ASSERT_EQ(Search(problem, {}, &answer), SearchOutcome::kFound);
  EXPECT_EQ(answer.choices[0].bins.front(), 0);
}

}  // namespace
}  // namespace tranche::planning
