#include "model/machine.h"
