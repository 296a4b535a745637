/*
 * A hostile guest: does to the virtio devices of its machine what no driver should, from user space as root. The drivers are
 * not loaded. Each case ends with a line "verdict DEVICE: CASE: WHAT CAME OF IT"; the offsets are those of VIRTIO 1.1 §4.1.4.3.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NEXT = 1, WRITE = 2, INDIRECT = 4, NEEDS_RESET = 64, QUEUE_SIZE = 8, BAR_BYTES = 0x8000, PAGES = 16, DEVICES_MAX = 16 };
enum { TABLE, AVAILABLE, USED, DATA, CODE };
enum { STATUS = 0x14, SELECT = 0x16, SIZE = 0x18, ENABLE = 0x1c, DESC = 0x20, DRIVER = 0x28, DEVICE = 0x30, NOTIFY = 0x3000 };

struct descriptor { uint64_t address; uint32_t length; uint16_t flags, next; };
struct device { char name[16]; unsigned slot, queue; uint64_t base; volatile uint8_t *bar; };

static struct device devices[DEVICES_MAX], *device;
static unsigned device_count;
static uint8_t *page[PAGES];
static uint64_t address[PAGES];
static volatile int racing;

#define R(type, offset) (*(volatile type *)(device->bar + (offset)))

static void fail(const char *what) { perror(what); exit(1); }
static void verdict(const char *name, const char *what) { printf("verdict %s: %s: %s\n", device->name, name, what); fflush(stdout); }

/* Configuration space by the ports. */
static uint32_t config(unsigned slot, unsigned offset) { outl(0x80000000u | slot << 11 | (offset & 0xfc), 0xcf8); return inl(0xcfc); }
static void set_config(unsigned slot, unsigned offset, uint32_t value) { outl(0x80000000u | slot << 11 | (offset & 0xfc), 0xcf8); outl(value, 0xcfc); }
static void place(uint64_t base) { set_config(device->slot, 0x10, (uint32_t)base); set_config(device->slot, 0x14, base >> 32); }

static uint64_t physical(void *at) {
  uint64_t entry;
  int file = open("/proc/self/pagemap", O_RDONLY);
  if (file < 0 || pread(file, &entry, 8, (uintptr_t)at / 4096 * 8) != 8) fail("pagemap");
  close(file);
  return (entry & ((1ull << 55) - 1)) * 4096;
}

static const char *name_of(unsigned id) {
  switch (id) {
    case 0x1041: return "net";
    case 0x1042: return "block";
    case 0x1044: return "rng";
    case 0x1045: return "balloon";
    case 0x1053: return "vsock";
    default: return NULL;
  }
}

static void find_devices(void) {
  for (unsigned slot = 0; slot < 32 && device_count < DEVICES_MAX; slot++) {
    const uint32_t id = config(slot, 0);
    if ((id & 0xffff) != 0x1af4 || name_of(id >> 16) == NULL) continue;
    struct device *found = &devices[device_count++];
    snprintf(found->name, sizeof found->name, "%s", name_of(id >> 16));
    found->slot = slot;
    /* The queue of requests: the first of these two is for packets to the guest. */
    found->queue = id >> 16 == 0x1041 || id >> 16 == 0x1053;
    found->base = (config(slot, 0x10) & ~0xfu) | (uint64_t)config(slot, 0x14) << 32;
    set_config(slot, 4, 6);
    /* Not the files of sysfs, which cannot be mapped as code. */
    const int file = open("/dev/mem", O_RDWR | O_SYNC);
    if (file < 0) fail("/dev/mem");
    found->bar = mmap(NULL, BAR_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED, file, (off_t)found->base);
    if (found->bar == MAP_FAILED) fail("mmap");
    close(file);
  }
}

static void set64(unsigned offset, uint64_t value) { R(uint32_t, offset) = (uint32_t)value; R(uint32_t, offset + 4) = value >> 32; }

/* Drives the device as it should be, with its queue of requests alone. */
static void start(void) {
  R(uint8_t, STATUS) = 0;
  for (int index = TABLE; index <= CODE; index++) memset(page[index], 0, 4096);
  R(uint8_t, STATUS) = 1;
  R(uint8_t, STATUS) = 3;
  R(uint32_t, 8) = 1;
  R(uint32_t, 12) = 1;
  R(uint32_t, 8) = 0;
  R(uint32_t, 12) = 1u << 28;
  R(uint8_t, STATUS) = 11;
  R(uint16_t, SELECT) = device->queue;
  R(uint16_t, SIZE) = QUEUE_SIZE;
  set64(DESC, address[TABLE]);
  set64(DRIVER, address[AVAILABLE]);
  set64(DEVICE, address[USED]);
  R(uint16_t, ENABLE) = 1;
  R(uint8_t, STATUS) = 15;
}

static void descriptor(unsigned index, uint64_t at, uint32_t length, unsigned flags, unsigned next) {
  ((volatile struct descriptor *)page[TABLE])[index] = (struct descriptor){ at, length, (uint16_t)flags, (uint16_t)next };
}

static void publish(unsigned count) {
  __sync_synchronize();
  ((volatile uint16_t *)page[AVAILABLE])[1] = (uint16_t)count;
  __sync_synchronize();
  R(uint16_t, NOTIFY + 4 * device->queue) = 0;
}

/* Waits until something has come of it; long enough that nothing is nothing. */
static const char *outcome(void) {
  for (int look = 0; look < 300; look++) {
    if (R(uint8_t, STATUS) & NEEDS_RESET) return "NEEDS_RESET";
    if (((volatile uint16_t *)page[USED])[1] != 0) return "answered";
  }
  return "ignored";
}

static void chain(const char *name, uint64_t at, uint32_t length, unsigned flags, unsigned next) {
  start();
  descriptor(0, at, length, flags, next);
  publish(1);
  verdict(name, outcome());
}

static void queues(void) {
  chain("a descriptor that goes on with itself", address[DATA], 16, NEXT, 0);
  chain("a buffer of no bytes", address[DATA], 0, 0, 0);
  chain("a buffer of 4 GiB - 1", address[DATA], 0xffffffff, WRITE, 0);
  chain("a buffer that wraps around", ~0ull - 7, 16, WRITE, 0);
  chain("a buffer in its own registers", device->base, 64, WRITE, 0);
  chain("a buffer in configuration space", 0xb0000000, 64, WRITE, 0);
  chain("a next descriptor beyond the table", address[DATA], 16, NEXT, 0xffff);
  chain("an indirect table in its own registers", device->base, 64, INDIRECT, 0);
  chain("an indirect table over the queue", address[TABLE], 64, INDIRECT, 0);
  start();
  publish(QUEUE_SIZE + 1);
  verdict("an available index that leaps", outcome());
  start();
  R(uint16_t, SELECT) = device->queue;
  R(uint16_t, SIZE) = 0;
  set64(USED, 0);
  descriptor(0, address[DATA], 0, 0, 0);
  publish(1);
  verdict("a live queue's registers are written", outcome());
}

static const unsigned EDGES[] = { 0, 0x38, 0x1000, 0x2000, 0x3000, 0x4000, 0x6000, 0x6030, 0x7000, 0x7fe0 };

static void registers(void) {
  for (unsigned edge = 0; edge < sizeof EDGES / sizeof *EDGES; edge++)
    for (unsigned at = EDGES[edge]; at < EDGES[edge] + 24; at++) {
      (void)R(uint8_t, at), (void)R(uint16_t, at), (void)R(uint32_t, at), (void)R(uint64_t, at);
      R(uint8_t, at) = 0xff, R(uint16_t, at) = 0xffff, R(uint32_t, at) = 0xffffffff, R(uint64_t, at) = ~0ull;
    }
  start();
  verdict("accesses of 1, 2, 4 and 8 bytes at any offset", R(uint8_t, STATUS) == 15 ? "ignored" : "broken");
  for (int kick = 0; kick < 20000; kick++) R(uint16_t, NOTIFY + 4 * device->queue) = 0;
  verdict("kicks without end", R(uint8_t, STATUS) == 15 ? "ignored" : "broken");
}

static void placement(void) {
  page[DATA][0] = 0x5a;
  place(address[DATA]);
  for (unsigned at = 0; at < 64; at++) ((volatile uint8_t *)page[DATA])[at + 64] = (uint8_t)at;
  const int is_ram = ((volatile uint8_t *)page[DATA])[0] == 0x5a && ((volatile uint8_t *)page[DATA])[127] == 63;
  verdict("its registers over RAM", is_ram ? "RAM answers" : "the device answers");
  /* The local APIC, the I/O APIC and configuration space of PCI: all of them go on. */
  const uint64_t places[] = { 0xfee00000, 0xfec00000, 0xb0000000, 0xfffff000, 0xffffffffffff8000, 0 };
  for (unsigned index = 0; index < sizeof places / sizeof *places; index++) {
    place(places[index]);
    (void)R(uint32_t, 0);
    usleep(1000);
  }
  for (unsigned other = 0; other < device_count; other++) {
    place(devices[other].base);
    (void)*(volatile uint32_t *)(devices[other].bar + STATUS);
  }
  set_config(device->slot, 4, 0);
  place(device->base);
  const int is_off = R(uint16_t, 0x12) == 0xffff;
  for (unsigned offset = 0; offset < 0x100; offset += 4) set_config(device->slot, offset, 0xffffffff);
  for (unsigned offset = 0x40; offset < 0x100; offset += 4) set_config(device->slot, offset, 0);
  place(device->base);
  set_config(device->slot, 4, 6);
  start();
  verdict("its registers anywhere and off, and configuration space of ones", is_off && R(uint8_t, STATUS) == 15 ? "as before" : "broken");
}

/* Instructions that have no business in a device's registers; 0 is one that went through. */
static void instruction(const char *name, void (*run)(void)) {
  fflush(stdout);
  const pid_t child = fork();
  if (child == 0) { run(); _exit(0); }
  int status;
  waitpid(child, &status, 0);
  verdict(name, WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "done");
}

static void copy(void) {
  uint8_t bytes[256];
  const volatile void *from = device->bar;
  void *to = bytes;
  size_t count = sizeof bytes;
  __asm__ volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
}
static void execute(void) { ((void (*)(void))(uintptr_t)device->bar)(); }
static void locked(void) { __asm__ volatile("lock xaddl %0, %1" : : "r"(1), "m"(R(uint32_t, 0)) : "memory"); }
static void vector(void) { __asm__ volatile("movdqu %0, %%xmm0; movdqu %%xmm0, %0" : : "m"(R(uint32_t, 0)) : "xmm0", "memory"); }
static void across(void) { (void)R(uint64_t, BAR_BYTES - 4096 - 3); R(uint64_t, 4096 - 3) = 0; }

static void *flip(void *unused) {
  (void)unused;
  volatile struct descriptor *table = (void *)page[TABLE];
  for (unsigned round = 0; racing; round++)
    for (unsigned index = 0; index < QUEUE_SIZE; index++) {
      table[index].length = round & 1 ? 0xffffffff : 64;
      table[index].address = round & 2 ? device->base : address[DATA];
      table[index].flags = (uint16_t)(round % 7);
    }
  return NULL;
}

/* The device reads descriptors while a second thread changes them. */
static void race(void) {
  pthread_t thread;
  racing = 1;
  if (pthread_create(&thread, NULL, flip, NULL)) fail("thread");
  for (int round = 0; round < 300; round++) {
    if (round % 10 == 0 || R(uint8_t, STATUS) & NEEDS_RESET) start();
    publish((round % 10) & 7);
  }
  racing = 0;
  pthread_join(thread, NULL);
  start();
  verdict("descriptors that another thread changes", R(uint8_t, STATUS) == 15 ? "it can be reset" : "broken");
}

/* The entropy device writes into code that runs. */
static void code(void) {
  static const uint8_t ret = 0xc3;
  start();
  page[CODE][0] = ret;
  ((void (*)(void))page[CODE])();
  descriptor(0, address[CODE] + 64, 2048, WRITE, 0);
  publish(1);
  for (int call = 0; call < 1000; call++) ((void (*)(void))page[CODE])();
  verdict("code beside which it writes", outcome());
}

int main(void) {
  if (iopl(3)) fail("iopl");
  uint8_t *memory = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);
  if (memory == MAP_FAILED) fail("mmap");
  memset(memory, 1, PAGES * 4096);
  for (int index = 0; index < PAGES; index++) page[index] = memory + index * 4096, address[index] = physical(page[index]);
  /* A child's copy must not take the pages away. */
  madvise(memory, PAGES * 4096, MADV_DONTFORK);
  find_devices();
  for (unsigned index = 0; index < device_count; index++) {
    device = &devices[index];
    queues();
    registers();
    placement();
    instruction("a locked addition to a register", locked);
    instruction("a register of 16 bytes", vector);
    instruction("an access across pages", across);
    instruction("a string of bytes out of registers", copy);
    instruction("registers as code", execute);
    race();
    if (strcmp(device->name, "rng") == 0) code();
    R(uint8_t, STATUS) = 0;
  }
  puts("survived");
  return 0;
}
