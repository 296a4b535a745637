/*
 * Processors that work on the same memory at the same time: locked instructions on operands of all sizes and places, the order of
 * loads and stores, code that another processor writes, pages that another processor takes away. A thread for each processor, bound
 * to it. Prints a line "NAME: ok" or "NAME: what is wrong" for each trial, "done" at the end.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define THREADS_MAX 16
#define PAGE 4096

static int thread_count;
static uint8_t *area; /* Two pages. */
static pthread_barrier_t barrier;
static volatile uint32_t started;

struct trial {
  const char *name;
  /* Offset in the area, and rounds for each thread. */
  unsigned place;
  unsigned rounds;
  void (*run)(int thread, uint8_t *at, unsigned rounds);
  /* Null when memory is as it should be. */
  const char *(*check)(uint8_t *at, unsigned rounds);
};

static char problem[200];

static const char *expect(uint64_t found, uint64_t expected) {
  if (found == expected) return NULL;
  snprintf(problem, sizeof problem, "%llu instead of %llu", (unsigned long long)found, (unsigned long long)expected);
  return problem;
}

#define LOAD(type, at) ({ type value_; memcpy(&value_, at, sizeof value_); value_; })

/* ---- Counters ---- */

#define COUNTER(name, type, ...)                                                            \
  static void run_##name(int thread, uint8_t *at, unsigned rounds) {                       \
    (void)thread;                                                                          \
    for (unsigned i = 0; i < rounds; i++) { __VA_ARGS__ }                                   \
  }                                                                                        \
  static const char *check_##name(uint8_t *at, unsigned rounds) {                          \
    return expect(LOAD(type, at), (type)((uint64_t)rounds * thread_count));                \
  }

COUNTER(xadd8, uint8_t, uint8_t one = 1; asm volatile("lock xaddb %0, (%1)" : "+q"(one) : "r"(at) : "memory", "cc");)
COUNTER(xadd16, uint16_t, uint16_t one = 1; asm volatile("lock xaddw %0, (%1)" : "+r"(one) : "r"(at) : "memory", "cc");)
COUNTER(xadd32, uint32_t, uint32_t one = 1; asm volatile("lock xaddl %0, (%1)" : "+r"(one) : "r"(at) : "memory", "cc");)
COUNTER(xadd64, uint64_t, uint64_t one = 1; asm volatile("lock xaddq %0, (%1)" : "+r"(one) : "r"(at) : "memory", "cc");)
COUNTER(inc64, uint64_t, asm volatile("lock incq (%0)" : : "r"(at) : "memory", "cc");)
COUNTER(adc32, uint32_t, asm volatile("stc; lock adcl $0, (%0)" : : "r"(at) : "memory", "cc");)
COUNTER(sub64, uint64_t, asm volatile("lock subq $-1, (%0)" : : "r"(at) : "memory", "cc");)
COUNTER(cmpxchg32, uint32_t, uint32_t old = LOAD(uint32_t, at); uint8_t done; do {
  asm volatile("lock cmpxchgl %3, (%2); setz %0" : "=q"(done), "+a"(old) : "r"(at), "r"(old + 1) : "memory", "cc");
} while (!done);)
COUNTER(cmpxchg64, uint64_t, uint64_t old = LOAD(uint64_t, at); uint8_t done; do {
  asm volatile("lock cmpxchgq %3, (%2); setz %0" : "=q"(done), "+a"(old) : "r"(at), "r"(old + 1) : "memory", "cc");
} while (!done);)
COUNTER(cmpxchg8b, uint64_t, uint32_t low = 0; uint32_t high = 0; uint8_t done; do {
  uint64_t next = (((uint64_t)high << 32) | low) + 1;
  asm volatile("lock cmpxchg8b (%3); setz %0" : "=q"(done), "+a"(low), "+d"(high)
               : "r"(at), "b"((uint32_t)next), "c"((uint32_t)(next >> 32)) : "memory", "cc");
} while (!done);)

static uint8_t exchange16(uint8_t *at, uint64_t *low, uint64_t *high, uint64_t new_low, uint64_t new_high) {
  uint8_t done;
  asm volatile("lock cmpxchg16b (%3); setz %0" : "=q"(done), "+a"(*low), "+d"(*high)
               : "r"(at), "b"(new_low), "c"(new_high) : "memory", "cc");
  return done;
}

/* Both halves count. */
static void run_cmpxchg16b(int thread, uint8_t *at, unsigned rounds) {
  (void)thread;
  uint64_t low = 0, high = 0;
  for (unsigned i = 0; i < rounds; i++) while (!exchange16(at, &low, &high, low + 1, high + 3));
}
static const char *check_cmpxchg16b(uint8_t *at, unsigned rounds) {
  uint64_t count = (uint64_t)rounds * thread_count;
  const char *wrong = expect(LOAD(uint64_t, at), count);
  return wrong ? wrong : expect(LOAD(uint64_t, at + 8), 3 * count);
}

/* Every other thread counts in one half by itself: the other half and all 16 bytes are other threads'. */
static void run_halves(int thread, uint8_t *at, unsigned rounds) {
  uint64_t low = 0, high = 0;
  for (unsigned i = 0; i < rounds; i++) {
    if (thread % 2 == 0) asm volatile("lock incq (%0)" : : "r"(at) : "memory", "cc");
    else while (!exchange16(at, &low, &high, low, high + 1));
  }
}
static const char *check_halves(uint8_t *at, unsigned rounds) {
  const char *wrong = expect(LOAD(uint64_t, at), (uint64_t)rounds * ((thread_count + 1) / 2));
  return wrong ? wrong : expect(LOAD(uint64_t, at + 8), (uint64_t)rounds * (thread_count / 2));
}

/* Every other thread counts in 4 bytes, the rest in 8 that begin with them, which takes longer. */
#define FASTER 32
static void run_overlap(int thread, uint8_t *at, unsigned rounds) {
  for (unsigned i = 0; i < rounds; i++) {
    uint64_t one = 1;
    if (thread % 2 == 0) for (int j = 0; j < FASTER; j++) asm volatile("lock incl (%0)" : : "r"(at) : "memory", "cc");
    else asm volatile("lock xaddq %0, (%1)" : "+r"(one) : "r"(at) : "memory", "cc");
  }
}
static const char *check_overlap(uint8_t *at, unsigned rounds) {
  return expect(LOAD(uint64_t, at), (uint64_t)rounds * (FASTER * ((thread_count + 1) / 2) + thread_count / 2));
}

/* ---- Bits: each thread changes bits of its own and must leave the others' alone ---- */

static void run_bits(int thread, uint8_t *at, unsigned rounds) {
  uint32_t bit = 1u << thread;
  uint64_t number = thread;
  for (unsigned i = 0; i < rounds; i++) {
    asm volatile("lock xorl %1, (%0)" : : "r"(at), "r"(bit) : "memory", "cc");
    asm volatile("lock btcq %1, (%0)" : : "r"(at), "r"(number) : "memory", "cc");
    asm volatile("lock orl %1, (%0)" : : "r"(at), "r"(bit) : "memory", "cc");
    asm volatile("lock andl %1, (%0)" : : "r"(at), "r"(~bit) : "memory", "cc");
    asm volatile("lock btsl %1, (%0)" : : "r"(at), "r"((uint32_t)number) : "memory", "cc");
    asm volatile("lock btrl %1, (%0)" : : "r"(at), "r"((uint32_t)number) : "memory", "cc");
  }
  asm volatile("lock btsl %1, (%0)" : : "r"(at), "r"((uint32_t)number) : "memory", "cc");
}
static const char *check_bits(uint8_t *at, unsigned rounds) {
  (void)rounds;
  return expect(LOAD(uint64_t, at), (1u << thread_count) - 1);
}

static void run_turns(int thread, uint8_t *at, unsigned rounds) {
  (void)thread;
  for (unsigned i = 0; i < rounds * 2; i++) {
    asm volatile("lock notl (%0)" : : "r"(at) : "memory");
    asm volatile("lock negl (%0)" : : "r"(at + 4) : "memory", "cc");
  }
}
static const char *check_turns(uint8_t *at, unsigned rounds) {
  (void)rounds;
  return expect(LOAD(uint64_t, at), 0);
}

/* ---- Locks around a counter that is not locked ---- */

#define GUARDED(name, take)                                              \
  static void run_##name(int thread, uint8_t *at, unsigned rounds) {    \
    (void)thread;                                                       \
    volatile uint64_t *counter = (volatile uint64_t *)(area + PAGE / 2); \
    for (unsigned i = 0; i < rounds; i++) {                             \
      for (;;) {                                                        \
        uint8_t busy;                                                   \
        take;                                                           \
        if (!busy) break;                                               \
        sched_yield();                                                  \
      }                                                                 \
      *counter = *counter + 1;                                          \
      asm volatile("movl $0, (%0)" : : "r"(at) : "memory");             \
    }                                                                   \
  }
GUARDED(xchg, { uint32_t one = 1; asm volatile("xchgl %0, (%1)" : "+r"(one) : "r"(at) : "memory"); busy = one != 0; })
GUARDED(bts, asm volatile("lock btsl $3, (%1); setc %0" : "=q"(busy) : "r"(at) : "memory", "cc"))
static const char *check_guarded(uint8_t *at, unsigned rounds) {
  (void)at;
  return expect(LOAD(uint64_t, area + PAGE / 2), (uint64_t)rounds * thread_count);
}

/* ---- Order of loads and stores. Each thread works with the next one; what each saw is compared when all have ended ---- */

struct line { volatile uint64_t value; uint8_t gap[248]; } __attribute__((aligned(256)));
static struct line words[THREADS_MAX], flags[THREADS_MAX];
static uint32_t *seen[THREADS_MAX];
static uint64_t violations[THREADS_MAX];

#define STORE_THEN_LOAD(name, fence)                                       \
  static void run_##name(int thread, uint8_t *at, unsigned rounds) {      \
    (void)at;                                                             \
    struct line *mine = &words[thread], *other = &words[thread ^ 1];      \
    if ((thread | 1) >= thread_count) return;                             \
    for (unsigned i = 1; i < rounds; i++) {                               \
      mine->value = i;                                                    \
      asm volatile(fence : : : "memory", "cc");                           \
      seen[thread][i] = other->value;                                     \
    }                                                                     \
  }
STORE_THEN_LOAD(mfence, "mfence")
STORE_THEN_LOAD(lock_fence, "lock addl $0, -4(%%rsp)")
/* If neither of two has seen the other's store, a load has come before the store that stands before it. */
static const char *check_store_then_load(uint8_t *at, unsigned rounds) {
  (void)at;
  uint64_t wrong = 0;
  for (int pair = 0; (pair | 1) < thread_count; pair += 2) {
    for (unsigned i = 1; i < rounds; i++) {
      /* The other's round in which it would have had to see this store. */
      unsigned next = seen[pair][i] + 1;
      if (next < rounds && seen[pair | 1][next] < i) wrong++;
    }
  }
  return expect(wrong, 0);
}

static void run_message(int thread, uint8_t *at, unsigned rounds) {
  (void)at;
  int other = (thread + 1) % thread_count;
  violations[thread] = 0;
  for (unsigned i = 1; i < rounds; i++) {
    words[thread].value = i;
    flags[thread].value = i;
    uint64_t flag = flags[other].value, word = words[other].value;
    if (word < flag) violations[thread]++;
  }
}
static const char *check_message(uint8_t *at, unsigned rounds) {
  (void)at, (void)rounds;
  uint64_t wrong = 0;
  for (int thread = 0; thread < thread_count; thread++) wrong += violations[thread];
  return expect(wrong, 0);
}

/* ---- Code and pages that another processor changes. The first thread changes, the others look, in step ---- */

static uint8_t *code;
static volatile uint64_t turn;
static struct line answers[THREADS_MAX];

static void await_answers(uint64_t round) {
  for (int thread = 1; thread < thread_count; thread++) while (answers[thread].value != round) sched_yield();
}
static void await_turn(uint64_t round) {
  while (turn < round) sched_yield();
}

/* mov eax, ROUND; ret: without any serializing instruction in between. */
static void run_code(int thread, uint8_t *at, unsigned rounds) {
  (void)at;
  uint64_t wrong = 0;
  for (uint32_t round = 1; round <= rounds; round++) {
    if (thread == 0) {
      code[0] = 0xb8;
      memcpy(code + 1, &round, 4);
      code[5] = 0xc3;
      asm volatile("" : : : "memory");
      turn = round;
      await_answers(round);
    } else {
      await_turn(round);
      if (((uint32_t(*)(void))code)() != round) wrong++;
      answers[thread].value = round;
    }
  }
  violations[thread] = wrong;
}

/* Code runs beside data of the same page that others write. */
static void run_beside(int thread, uint8_t *at, unsigned rounds) {
  (void)at;
  static const uint8_t function[] = {0x8d, 0x47, 0x01, 0xc3}; /* lea eax, [rdi + 1]; ret */
  uint8_t *own = code + 1024 * (1 + thread % 3);
  volatile uint64_t *counter = (volatile uint64_t *)(code + 64 * (thread + 1));
  memcpy(own, function, sizeof function);
  *counter = 0;
  uint64_t wrong = 0;
  for (unsigned i = 0; i < rounds; i++) {
    *counter = *counter + 1;
    if (((uint32_t(*)(uint32_t))own)(i) != i + 1) wrong++;
  }
  violations[thread] = wrong + (*counter != rounds);
}

/* Another page comes to the place: nobody may see the old one once the change is known. */
static void run_remap(int thread, uint8_t *at, unsigned rounds) {
  volatile uint64_t *word = (volatile uint64_t *)at;
  uint64_t wrong = 0;
  for (uint64_t round = 1; round <= rounds; round++) {
    if (thread == 0) {
      if (mmap(at, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != at) wrong++;
      *word = round;
      turn = round;
      await_answers(round);
    } else {
      await_turn(round);
      if (*word != round) wrong++;
      answers[thread].value = round;
    }
  }
  violations[thread] = wrong;
}

/* ---- The trials ---- */

/* Offsets: aligned; inside 8 bytes; across 8, inside 16; across a cache line; across the page. */
#define AT_ALL(name, rounds)                                                         \
  {#name " aligned", 64, rounds, run_##name, check_##name},                          \
  {#name " inside 8 bytes", 65, rounds, run_##name, check_##name},                   \
  {#name " across 8 bytes", 71, rounds / 8, run_##name, check_##name},               \
  {#name " across a cache line", 127, rounds / 100, run_##name, check_##name},       \
  {#name " across a page", PAGE - 1, rounds / 100, run_##name, check_##name}

static const struct trial trials[] = {
  {"xadd8", 67, 100000, run_xadd8, check_xadd8},
  AT_ALL(xadd16, 100000),
  AT_ALL(xadd32, 100000),
  {"xadd64 aligned", 64, 100000, run_xadd64, check_xadd64},
  {"xadd64 across 8 bytes", 67, 10000, run_xadd64, check_xadd64},
  {"xadd64 across a page", PAGE - 3, 800, run_xadd64, check_xadd64},
  {"inc64", 64, 100000, run_inc64, check_inc64},
  {"adc32", 64, 50000, run_adc32, check_adc32},
  {"sub64", 64, 100000, run_sub64, check_sub64},
  AT_ALL(cmpxchg32, 50000),
  {"cmpxchg64", 64, 20000, run_cmpxchg64, check_cmpxchg64},
  {"cmpxchg8b", 64, 10000, run_cmpxchg8b, check_cmpxchg8b},
  {"cmpxchg8b across 8 bytes", 68, 5000, run_cmpxchg8b, check_cmpxchg8b},
  {"cmpxchg16b", 64, 20000, run_cmpxchg16b, check_cmpxchg16b},
  {"halves of 16 bytes", 64, 20000, run_halves, check_halves},
  {"overlapping operands", 68, 5000, run_overlap, check_overlap},
  {"overlapping operands, some across a page", PAGE - 4, 4000, run_overlap, check_overlap},
  {"bits", 64, 10000, run_bits, check_bits},
  {"bits, not aligned", 61, 5000, run_bits, check_bits},
  {"not and neg", 64, 10000, run_turns, check_turns},
  {"xchg as a lock", 64, 5000, run_xchg, check_guarded},
  {"xchg as a lock, across 8 bytes", 70, 2000, run_xchg, check_guarded},
  {"bts as a lock", 64, 5000, run_bts, check_guarded},
  {"a store before a load, by mfence", 0, 200000, run_mfence, check_store_then_load},
  {"a store before a load, by lock", 0, 200000, run_lock_fence, check_store_then_load},
  {"stores in order, loads in order", 0, 200000, run_message, check_message},
  {"code that another processor writes", 0, 300, run_code, check_message},
  {"code beside data", 0, 2000, run_beside, check_message},
  {"a page that another processor replaces", 0, 100, run_remap, check_message},
};
#define TRIAL_COUNT (sizeof trials / sizeof trials[0])

static void *work(void *argument) {
  int thread = (int)(intptr_t)argument;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(thread, &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0) perror("sched_setaffinity");
  for (unsigned i = 0; i < TRIAL_COUNT; i++) {
    pthread_barrier_wait(&barrier);
    /* Who is woken comes late: all begin at the same time. */
    asm volatile("lock incl %0" : "+m"(started) : : "cc");
    while (started < (i + 1) * (uint32_t)thread_count);
    trials[i].run(thread, area + trials[i].place, trials[i].rounds);
    pthread_barrier_wait(&barrier);
    if (thread != 0) continue;
    const char *wrong = trials[i].check(area + trials[i].place, trials[i].rounds);
    printf("%s: %s\n", trials[i].name, wrong ? wrong : "ok");
    fflush(stdout);
    memset(area, 0, 2 * PAGE);
    turn = 0;
    for (int other = 0; other < THREADS_MAX; other++) answers[other].value = words[other].value = flags[other].value = 0;
  }
  return NULL;
}

static void *map(size_t size, int protection) {
  void *at = mmap(NULL, size, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) exit(1);
  return at;
}

int main(void) {
  thread_count = (int)sysconf(_SC_NPROCESSORS_ONLN);
  if (thread_count > THREADS_MAX) thread_count = THREADS_MAX;
  area = map(2 * PAGE, PROT_READ | PROT_WRITE);
  code = map(PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
  for (int thread = 0; thread < thread_count; thread++) seen[thread] = map(200000 * 4, PROT_READ | PROT_WRITE);
  pthread_barrier_init(&barrier, NULL, thread_count);
  printf("processors: %d\n", thread_count);
  pthread_t threads[THREADS_MAX];
  for (int thread = 1; thread < thread_count; thread++) {
    if (pthread_create(&threads[thread], NULL, work, (void *)(intptr_t)thread) != 0) return 1;
  }
  work(0);
  for (int thread = 1; thread < thread_count; thread++) pthread_join(threads[thread], NULL);
  puts("done");
  return 0;
}
