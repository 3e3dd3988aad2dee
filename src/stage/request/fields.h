#pragma once

#include "model/spec.h"
#include "stage/request/values.h"

namespace tranche {

// The format of the spec, version 1: every key, what it may be, what holds without it, what it
// means. Rules between keys are in checks.cc, defaults that depend on other keys in defaults.cc.
const Fields<Spec>& SpecFields();
const Fields<Workload>& WorkloadFields();

// Spec as one shape, for the schema and the docs.
const Shape& SpecShape();

}  // namespace tranche
