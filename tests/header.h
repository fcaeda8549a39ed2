/* The public header as the first and only include of a file, in the languages that include it. */
#include "engram_um.h"
