#pragma once

#include <cstdint>
#include <string>
#include <vector>

// Which GPUs, divided how, hold a fleet's workloads at the least cost. Counts, not names: items of
// a class may stand in for each other, and so may GPUs of a kind.
namespace tranche::fleet {

// What a tenant takes of a GPU that is not divided by hardware, or of an instance that is shared;
// and what there is to take.
struct Share {
  int64_t memory = 0;   // in any unit, the same as GpuKind::memory
  int64_t compute = 0;  // billionths of the GPU
  int64_t clients = 0;  // of a server that serves only so many
  bool operator==(const Share&) const = default;

  bool Holds(const Share& other) const {
    return other.memory <= memory && other.compute <= compute && other.clients <= clients;
  }
  Share& operator+=(const Share& other) {
    memory += other.memory, compute += other.compute, clients += other.clients;
    return *this;
  }
  Share& operator-=(const Share& other) {
    memory -= other.memory, compute -= other.compute, clients -= other.clients;
    return *this;
  }
  Share Times(int64_t n) const { return {memory * n, compute * n, clients * n}; }
};

// Clients where nothing limits them.
constexpr int64_t kAnyClients = int64_t{1} << 40;

constexpr int64_t kWholeCompute = 1'000'000'000;

// GPUs that are alike in price, in what they offer and in what is on them already.
struct GpuKind {
  int64_t price = 0;  // of using one at all; 0 when it is used already
  int64_t count = 0;  // at hand
  // Ways to divide one by MIG: how many instances of each shape. Each must be maximal, so that
  // whatever can be placed is a part of one of them.
  std::vector<std::vector<int>> layouts;
  // For tenants that share it undivided; no memory, no such tenants.
  int64_t memory = 0;
  int64_t compute = kWholeCompute;
  // The same GPUs on other terms (spot): those of all kinds with this number are no more than the
  // count of the first of them. -1: its own only.
  int pool = -1;
  int64_t clients = kAnyClients;  // of those that share it undivided
  // What tenants have together of an instance of each shape, where such may be shared.
  std::vector<Share> rooms = {};

  Share whole() const { return {memory, compute, clients}; }
};

// One way to place an item. Several may be good for it.
struct Way {
  // kInstanceShare: beside others in one instance.
  enum class Use { kInstance, kWhole, kShare, kInstanceShare };
  int kind = 0;
  Use use = Use::kInstance;
  int shape = 0;  // of the kind's layouts, with kInstance and kInstanceShare
  Share share;    // with kShare and kInstanceShare
  // Only what has the same number may share a GPU or an instance (one mechanism, tenants that trust
  // each other).
  int circle = 0;
  bool operator==(const Way&) const = default;
};

struct ItemClass {
  int64_t count = 0;
  int gpus = 1;  // whole ones of one kind; with more than one, only kWhole
  std::vector<Way> ways;
};

struct Problem {
  std::vector<GpuKind> kinds;
  std::vector<ItemClass> classes;
};

// One GPU that is used, or the several of one item.
struct Used {
  // Items of one class by one of its ways.
  struct Content {
    int item_class = 0;
    int way = 0;
    int64_t count = 0;
    int instance = -1;  // with kInstanceShare: those of one number share one instance of the GPU
    bool operator==(const Content&) const = default;
  };
  int kind = 0;
  int gpus = 1;
  int layout = -1;  // of the kind, when it is divided
  std::vector<Content> contents;
  bool operator==(const Used&) const = default;
};

// Whose count a kind's GPUs are taken from: the first kind of its pool.
std::vector<size_t> CountedBy(const Problem& problem);

struct Answer {
  std::vector<Used> used;
  std::vector<int64_t> left_out;  // of each class
  int64_t cost = 0;               // of the GPUs used
  // No answer that leaves out as few costs less; rounded up to what every sum of prices is a
  // multiple of. At most `cost`.
  int64_t lower_bound = 0;

  int64_t LeftOut() const;
};

// Whether the answer is one: nothing more than once or beyond its count, nothing fuller than its
// GPU. "" or what is wrong.
std::string WhatIsWrong(const Problem& problem, const Answer& answer);

}  // namespace tranche::fleet
