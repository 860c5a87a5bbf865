// The class Replica of the addon.

#include "exports.h"

void exportReplica(Napi::Env, Napi::Object) {}
