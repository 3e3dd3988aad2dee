#include "model/receipt.h"
