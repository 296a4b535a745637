/*
 * Writes to a disk or a file system without end, and says on standard output what is on the medium: each operation is made
 * durable before its line is printed. What operation N of a seed does follows from both alone, so that whoever has the seed and
 * the last line knows what has to be found: crash-record.ts says the same in TypeScript.
 *
 *   crash blocks DEVICE SEED FIRST    operations on a block device from number FIRST on
 *   crash files FOLDER SEED FIRST     on files of a folder
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

enum { BLOCK_BYTES = 4096, RUN_MAX = 16, AREA_BLOCKS = 2048, WORDS = BLOCK_BYTES / 4, MAGIC = 0x6b736964, FILES = 16 };

static uint32_t mix(uint32_t seed, uint32_t a, uint32_t b) {
  uint32_t x = seed ^ a * 0x9e3779b1u ^ b * 0x85ebca6bu;
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  return x ^ x >> 16;
}

static void fail(const char *what) {
  printf("%s: %s\n", what, strerror(errno));
  exit(1);
}

static void fill(uint32_t *block, uint32_t seed, uint32_t operation, uint32_t index) {
  block[0] = MAGIC;
  block[1] = operation;
  block[2] = index;
  uint32_t x = mix(seed, operation, index) | 1;
  for (int i = 3; i < WORDS; i++) {
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    block[i] = x;
  }
}

static uint32_t buffer[RUN_MAX * WORDS] __attribute__((aligned(BLOCK_BYTES)));

static void fill_run(uint32_t seed, uint32_t operation, uint32_t first, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) fill(buffer + i * WORDS, seed, operation, first + i);
}

/* The line has left the machine when this returns, so that few operations are done without being told. */
static void tell(const char *place, uint32_t operation) {
  printf("durable %s %u\n", place, operation);
  if (tcdrain(STDOUT_FILENO)) fail("tcdrain");
}

static void blocks(const char *path, uint32_t seed, uint32_t operation) {
  int fd = open(path, O_RDWR | O_DIRECT);
  if (fd < 0) fail(path);
  for (;; operation++) {
    uint32_t count = 1 + mix(seed, operation, 1) % RUN_MAX;
    uint32_t first = mix(seed, operation, 2) % (AREA_BLOCKS - count + 1);
    uint32_t kind = mix(seed, operation, 3) % 8;
    if (kind < 2) {
      uint64_t range[2] = {(uint64_t)first * BLOCK_BYTES, (uint64_t)count * BLOCK_BYTES};
      if (ioctl(fd, kind == 0 ? BLKZEROOUT : BLKDISCARD, range)) fail("zeros or discard");
    } else {
      fill_run(seed, operation, first, count);
      ssize_t size = (ssize_t)count * BLOCK_BYTES;
      if (pwrite(fd, buffer, size, (off_t)first * BLOCK_BYTES) != size) fail("pwrite");
    }
    /* Most operations are made durable together with those that follow. */
    if (mix(seed, operation, 4) % 4 != 0) continue;
    if (fsync(fd)) fail("fsync");
    tell(path, operation);
  }
}

static void files(const char *folder, uint32_t seed, uint32_t operation) {
  if (chdir(folder)) fail(folder);
  int directory = open(".", O_RDONLY | O_DIRECTORY);
  if (directory < 0) fail(folder);
  for (;; operation++) {
    char name[32];
    snprintf(name, sizeof name, "%u", operation - FILES);
    if (operation >= FILES && unlink(name) && errno != ENOENT) fail("unlink");
    int fd = open("new", O_RDWR | O_CREAT | O_TRUNC, 0644);
    if (fd < 0) fail("new");
    uint32_t count = 1 + mix(seed, operation, 1) % RUN_MAX;
    fill_run(seed, operation, 0, count);
    ssize_t size = (ssize_t)count * BLOCK_BYTES;
    if (write(fd, buffer, size) != size) fail("write");
    if (fsync(fd) || close(fd)) fail("fsync");
    snprintf(name, sizeof name, "%u", operation);
    if (rename("new", name)) fail("rename");
    if (fsync(directory)) fail("fsync of the folder");
    tell(folder, operation);
  }
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  setvbuf(stdout, NULL, _IOLBF, 0);
  uint32_t seed = (uint32_t)strtoul(argv[3], NULL, 10), first = (uint32_t)strtoul(argv[4], NULL, 10);
  if (strcmp(argv[1], "blocks") == 0) blocks(argv[2], seed, first);
  else files(argv[2], seed, first);
}
