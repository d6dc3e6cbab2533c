// What stands beside the kernels in every library: a loop over them, and the few
// functions that TVM's code expects of its runtime. With these, a library needs nothing
// but libc. No header is included, so that every C++ compiler will do for every target.

typedef unsigned long size_type;

extern "C" {

int posix_memalign(void** memory, size_type alignment, size_type bytes);
void free(void* memory);

// ---------------------------------------------------------------- errors

static thread_local char message[512];

const char* trimtab_message() { return message; }

__attribute__((visibility("hidden"))) void TVMFFIErrorSetRaisedFromCStrParts(
    const char* kind, const char** parts, int count) {
  size_type at = 0;
  for (int part = -1; part < count; ++part) {
    const char* text = part < 0 ? kind : parts[part];
    for (; text && *text && at + 3 < sizeof(message); ++text) message[at++] = *text;
    if (part < 0) {
      message[at++] = ':';
      message[at++] = ' ';
    }
  }
  message[at] = 0;
}

// ---------------------------------------------------------------- memory of a kernel

static void* take(int, int, unsigned long long bytes, int, int) {
  void* memory = nullptr;
  return posix_memalign(&memory, 64, bytes ? bytes : 1) ? nullptr : memory;
}

static int give(int, int, void* memory) {
  free(memory);
  return 0;
}

void* (*__TVMBackendAllocWorkspace)(int, int, unsigned long long, int, int) = take;
int (*__TVMBackendFreeWorkspace)(int, int, void*) = give;

// ---------------------------------------------------------------- parallel loops

struct Environment {
  void* sync;
  int tasks;
};

typedef int (*Task)(int index, Environment* environment, void* data);

// Until a pool of threads is given, one task does the whole loop.
static int alone(Task task, void* data, int) {
  int counter = 0;
  Environment environment = {&counter, 1};
  return task(0, &environment, data);
}

int (*__TVMBackendParallelLaunch)(Task, void*, int) = alone;

void trimtab_use_pool(void* launch) {
  __TVMBackendParallelLaunch = reinterpret_cast<int (*)(Task, void*, int)>(launch);
}

// ---------------------------------------------------------------- the loop

struct Step {
  int (*kernel)(void* self, const void* arguments, int count, void* result);
  const void* arguments;
  long long count;
};

// Calls the steps from first to before last; returns 0, or 1 + the one that failed.
long long trimtab_run(const Step* steps, long long first, long long last) {
  long long result[2] = {0, 0};
  for (long long step = first; step < last; ++step)
    if (steps[step].kernel(nullptr, steps[step].arguments, (int)steps[step].count,
                           result))
      return step + 1;
  return 0;
}

extern const char trimtab_signatures[];
}
