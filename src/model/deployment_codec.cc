#include "model/deployment.h"
