/*
 * The programs of `npm run bench -- cpu`. Each is run three times; one line tells its name, a number that must be the same on
 * every machine, and the nanoseconds of the fastest. With names as parameters, those alone.
 */
#define _GNU_SOURCE
#include <emmintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint32_t seed;

/* Marsaglia, "Xorshift RNGs". */
static uint32_t next_random(void) {
  seed ^= seed << 13;
  seed ^= seed >> 17;
  seed ^= seed << 5;
  return seed;
}

/* What comes before must be in memory, and what comes after read anew. */
static void barrier(void) { __asm__ volatile("" ::: "memory"); }

/* ---- A mix of lists, matrices, states and check sums, such as CoreMark's ---- */

enum { LIST = 500, MATRIX = 24 };
struct item {
  struct item *next;
  int16_t value;
};
static struct item items[LIST];
static int16_t left[MATRIX][MATRIX], right[MATRIX][MATRIX];

static uint16_t crc16(uint16_t crc, uint16_t value) {
  for (int bit = 0; bit < 16; bit++, value >>= 1) crc = (crc >> 1) ^ (((crc ^ value) & 1) ? 0xa001 : 0);
  return crc;
}

static struct item *merge(struct item *a, struct item *b) {
  struct item head, *tail = &head;
  while (a && b) {
    struct item **less = a->value <= b->value ? &a : &b;
    tail->next = *less;
    tail = *less;
    *less = (*less)->next;
  }
  tail->next = a ? a : b;
  return head.next;
}

static struct item *sort(struct item *list, int count) {
  if (count < 2) {
    if (list) list->next = NULL;
    return list;
  }
  struct item *middle = list;
  for (int i = 0; i < count / 2; i++) middle = middle->next;
  return merge(sort(list, count / 2), sort(middle, count - count / 2));
}

static uint16_t list_sum(uint16_t crc) {
  for (int i = 0; i < LIST; i++) items[i] = (struct item){i + 1 < LIST ? &items[i + 1] : NULL, (int16_t)next_random()};
  struct item *list = sort(items, LIST), *reversed = NULL;
  while (list) {
    struct item *next = list->next;
    list->next = reversed;
    reversed = list;
    list = next;
  }
  for (; reversed; reversed = reversed->next) crc = crc16(crc, (uint16_t)reversed->value);
  return crc;
}

static uint16_t matrix_sum(uint16_t crc) {
  for (int i = 0; i < MATRIX; i++)
    for (int j = 0; j < MATRIX; j++) left[i][j] = (int16_t)next_random(), right[i][j] = (int16_t)next_random();
  for (int i = 0; i < MATRIX; i++) {
    for (int j = 0; j < MATRIX; j++) {
      int32_t sum = 0;
      for (int k = 0; k < MATRIX; k++) sum += left[i][k] * (right[k][j] >> 4);
      crc ^= (uint16_t)(sum >> 3);
    }
  }
  return crc16(crc, 0x1234);
}

/* Recognises numbers in a text of digits, signs, points and letters. */
static uint16_t state_sum(uint16_t crc) {
  enum { START, SIGN, INTEGER, FRACTION, EXPONENT, INVALID, STATES } state = START;
  static const char text[] = "5012,1234,-874,+122,35.54,.1234500,-110.700,+0.64400,5.5e+3,-.123e-2,T0.3e-1F,+-1.T++,";
  uint32_t counts[STATES] = {0};
  for (const char *at = text; *at; at++) {
    int digit = *at >= '0' && *at <= '9';
    counts[state]++;
    if (*at == ',') state = START;
    else switch (state) {
        case START: state = digit ? INTEGER : *at == '+' || *at == '-' ? SIGN : *at == '.' ? FRACTION : INVALID; break;
        case SIGN: state = digit ? INTEGER : *at == '.' ? FRACTION : INVALID; break;
        case INTEGER: state = digit ? INTEGER : *at == '.' ? FRACTION : INVALID; break;
        case FRACTION: state = digit ? FRACTION : *at == 'e' ? EXPONENT : INVALID; break;
        case EXPONENT: state = digit || *at == '+' || *at == '-' ? EXPONENT : INVALID; break;
        default: break;
      }
  }
  for (int i = 0; i < STATES; i++) crc = crc16(crc, (uint16_t)counts[i]);
  return crc;
}

static long mix(long rounds) {
  uint16_t crc = 0;
  while (rounds--) crc = state_sum(matrix_sum(list_sum(crc)));
  return crc;
}

/* ---- Integers ---- */

static uint8_t flags[1 << 20];

static long sieve(long rounds) {
  long primes = 0;
  while (rounds--) {
    memset(flags, 1, sizeof flags);
    primes = 0;
    for (size_t i = 2; i < sizeof flags; i++) {
      if (!flags[i]) continue;
      primes++;
      for (size_t j = 2 * i; j < sizeof flags; j += i) flags[j] = 0;
    }
  }
  return primes;
}

static uint32_t rotate(uint32_t value, int count) { return value >> count | value << (32 - count); }

/* FIPS 180-4 but for its constants, which are made up: the work is the same. */
static long sha256(long blocks) {
  static uint32_t k[64];
  uint32_t state[8] = {1, 2, 3, 4, 5, 6, 7, 8}, w[64];
  for (uint32_t i = 0; i < 64; i++) k[i] = i * 2654435761u;
  while (blocks--) {
    for (int i = 0; i < 16; i++) w[i] = (uint32_t)blocks * (uint32_t)i + state[i & 7];
    for (int i = 16; i < 64; i++) {
      uint32_t s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
      uint32_t s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
      w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0; i < 64; i++) {
      uint32_t t1 = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + k[i] + w[i];
      uint32_t t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    state[4] += e, state[5] += f, state[6] += g, state[7] += h;
  }
  return state[0];
}

static int numbers[400000];

static void sort_numbers(int *array, int low, int high) {
  while (low < high) {
    int pivot = array[(low + high) / 2], i = low, j = high;
    while (i <= j) {
      while (array[i] < pivot) i++;
      while (array[j] > pivot) j--;
      if (i <= j) {
        int kept = array[i];
        array[i++] = array[j];
        array[j--] = kept;
      }
    }
    sort_numbers(array, low, j);
    low = i;
  }
}

static long quicksort(long rounds) {
  const int count = sizeof numbers / sizeof numbers[0];
  while (rounds--) {
    for (int i = 0; i < count; i++) numbers[i] = (int)next_random();
    sort_numbers(numbers, 0, count - 1);
  }
  return numbers[1000];
}

static long bytecode(long millions) {
  uint8_t program[256];
  int64_t accumulator = 1, other = 0;
  int at = 0;
  for (int i = 0; i < 256; i++) program[i] = (uint8_t)((i * 7 + 3) % 6);
  for (long steps = millions * 1000000; steps; steps--) {
    switch (program[at]) {
      case 0: accumulator += at; break;
      case 1: accumulator ^= other; break;
      case 2: other = (int64_t)((uint64_t)accumulator * 3); break;
      case 3: accumulator -= other >> 2; break;
      case 4: other += accumulator & 15; break;
      default: accumulator = (int64_t)((uint64_t)accumulator << 1 | (uint64_t)accumulator >> 63); break;
    }
    at = (at + 1 + (accumulator & 1)) & 255;
  }
  return accumulator + other;
}

/* Not inlined into itself, as compilers do: calls are what is measured. */
__attribute__((noinline, optimize("no-optimize-sibling-calls", "no-inline"))) static long fibonacci(long n) {
  return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static long recursion(long n) { return fibonacci(n); }

static void *chain[1 << 15];

static long chase(long millions) {
  const size_t count = sizeof chain / sizeof chain[0];
  for (size_t i = 0; i < count; i++) chain[i] = &chain[(i * 5 + 1) & (count - 1)];
  void **at = chain;
  for (long i = millions * 1000000; i; i--) at = *at;
  return at - chain;
}

static uint8_t text[1 << 20];

/* Where the first two bytes stand side by side the rest is compared: Mula, "SIMD-friendly algorithms for substring searching". */
static long search(long rounds) {
  static const char needle[] = "qzjx";
  const __m128i first = _mm_set1_epi8(needle[0]), second = _mm_set1_epi8(needle[1]);
  long found = 0;
  for (size_t i = 0; i < sizeof text; i++) text[i] = (uint8_t)('a' + next_random() % 26);
  memcpy(text + sizeof text / 2, needle, 4);
  while (rounds--) {
    for (size_t i = 0; i + 17 <= sizeof text; i += 16) {
      __m128i here = _mm_loadu_si128((const __m128i *)(text + i)), after = _mm_loadu_si128((const __m128i *)(text + i + 1));
      unsigned mask = (unsigned)_mm_movemask_epi8(_mm_and_si128(_mm_cmpeq_epi8(here, first), _mm_cmpeq_epi8(after, second)));
      for (; mask; mask &= mask - 1) {
        size_t at = i + (size_t)__builtin_ctz(mask);
        found += at + 4 <= sizeof text && memcmp(text + at, needle, 4) == 0;
      }
    }
  }
  return found;
}

static uint8_t source[1 << 22], target[1 << 22];

static long copy(long rounds) {
  while (rounds--) {
    memcpy(target, source, sizeof target);
    source[rounds & 1023]++;
    barrier();
  }
  return target[5];
}

/* ---- Floating point ---- */

static double sums[1 << 17], addends[1 << 17], factors[1 << 17];

static long triad(long rounds) {
  const size_t count = sizeof sums / sizeof sums[0];
  for (size_t i = 0; i < count; i++) addends[i] = (double)i, factors[i] = 1.0 / (double)(i + 1);
  while (rounds--) {
    for (size_t i = 0; i < count; i++) sums[i] = addends[i] + 3.0 * factors[i];
    barrier();
  }
  return (long)(sums[1000] * 1e6);
}

static long bodies(long steps) {
  double x[3] = {0, 5.2, 9.5}, y[3] = {0, 0.3, -1}, vx[3] = {0, 0.01, 0.3}, vy[3] = {0, 2.6, 1.9}, m[3] = {39, 0.04, 0.01};
  while (steps--) {
    for (int i = 0; i < 3; i++) {
      for (int j = i + 1; j < 3; j++) {
        double dx = x[i] - x[j], dy = y[i] - y[j], d2 = dx * dx + dy * dy + 1e-3;
        double pull = 0.001 / (d2 * __builtin_sqrt(d2));
        vx[i] -= dx * m[j] * pull, vy[i] -= dy * m[j] * pull;
        vx[j] += dx * m[i] * pull, vy[j] += dy * m[i] * pull;
      }
    }
    for (int i = 0; i < 3; i++) x[i] += 0.001 * vx[i], y[i] += 0.001 * vy[i];
  }
  return (long)(x[1] * 1e6);
}

static long mandelbrot(long rows) {
  long inside = 0;
  for (long row = 0; row < rows; row++) {
    for (int column = 0; column < 200; column++) {
      double cr = column / 100.0 - 1.5, ci = 2.0 * (double)row / (double)rows - 1, zr = 0, zi = 0;
      int i = 0;
      for (; i < 200 && zr * zr + zi * zi < 4; i++) {
        double kept = zr * zr - zi * zi + cr;
        zi = 2 * zr * zi + ci;
        zr = kept;
      }
      inside += i;
    }
  }
  return inside;
}

/* ---- The kernel ---- */

static long system_calls(long thousands) {
  long sum = 0;
  for (long i = 0; i < thousands * 1000; i++) sum += syscall(SYS_getppid) > 0;
  return sum;
}

static long forks(long count) {
  static char *const parameters[] = {"cpu-guest", "--nothing", NULL};
  for (long i = 0; i < count; i++) {
    pid_t child = fork();
    if (child == 0) {
      execv("/proc/self/exe", parameters);
      _exit(1);
    }
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) exit(1);
  }
  return count;
}

static long page_faults(long rounds) {
  const size_t size = 1 << 22;
  long touched = 0;
  while (rounds--) {
    uint8_t *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) exit(1);
    for (size_t i = 0; i < size; i += 4096) pages[i] = 1, touched++;
    munmap(pages, size);
  }
  return touched;
}

static long pipes(long hundreds) {
  int there[2], back[2];
  char byte = 0;
  if (pipe(there) || pipe(back)) exit(1);
  pid_t child = fork();
  if (child == 0) {
    for (long i = 0; i < hundreds * 100; i++)
      if (read(there[0], &byte, 1) != 1 || write(back[1], &byte, 1) != 1) _exit(1);
    _exit(0);
  }
  for (long i = 0; i < hundreds * 100; i++)
    if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1) exit(1);
  int status;
  waitpid(child, &status, 0);
  for (int i = 0; i < 2; i++) close(there[i]), close(back[i]);
  return hundreds + status;
}

static const struct {
  const char *name;
  long (*run)(long);
  long amount;
} programs[] = {
    {"mix", mix, 250},           {"sieve", sieve, 30},        {"sha256", sha256, 100000},   {"quicksort", quicksort, 4},
    {"bytecode", bytecode, 40},  {"recursion", recursion, 32}, {"chase", chase, 60},        {"search", search, 150},
    {"copy", copy, 300},         {"triad", triad, 600},       {"bodies", bodies, 400000},   {"mandelbrot", mandelbrot, 800},
    {"calls", system_calls, 300}, {"forks", forks, 150},      {"faults", page_faults, 20},  {"pipes", pipes, 60},
};

static int is_wanted(const char *name, int count, char **names) {
  for (int i = 1; i < count; i++)
    if (strcmp(names[i], name) == 0) return 1;
  return count < 2;
}

int main(int count, char **names) {
  if (count == 2 && strcmp(names[1], "--nothing") == 0) return 0;
  for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++) {
    if (!is_wanted(programs[i].name, count, names)) continue;
    int64_t best = INT64_MAX;
    long check = 0;
    for (int round = 0; round < 3; round++) {
      struct timespec start, end;
      seed = 1;
      clock_gettime(CLOCK_MONOTONIC, &start);
      check = programs[i].run(programs[i].amount);
      clock_gettime(CLOCK_MONOTONIC, &end);
      int64_t ns = (end.tv_sec - start.tv_sec) * 1000000000LL + end.tv_nsec - start.tv_nsec;
      if (ns < best) best = ns;
    }
    printf("program %s %ld %lld\n", programs[i].name, check, (long long)best);
    fflush(stdout);
  }
  return 0;
}
