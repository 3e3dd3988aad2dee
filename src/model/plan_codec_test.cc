#include "model/plan.h"
