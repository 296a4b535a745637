/*
 * Requests to a block device for a time, by Linux AIO and O_DIRECT: none is answered from the guest's own cache. Prints how
 * many were done and the nanoseconds that took.
 *
 *   block-guest DEVICE read|write random|sequential BYTES DEPTH MILLISECONDS
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { DEPTH_MAX = 64 };

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void die(const char *what) {
  perror(what);
  exit(1);
}

static int fd, is_read, is_random;
static uint64_t bytes, places, place;

static uint64_t next_offset(void) {
  static uint64_t x = 88172645463325252u;
  if (!is_random) return place++ % places * bytes;
  x ^= x << 13;
  x ^= x >> 7;
  x ^= x << 17;
  return x % places * bytes;
}

static void submit(aio_context_t context, struct iocb *request) {
  request->aio_lio_opcode = is_read ? IOCB_CMD_PREAD : IOCB_CMD_PWRITE;
  request->aio_fildes = fd;
  request->aio_nbytes = bytes;
  request->aio_offset = next_offset();
  if (syscall(SYS_io_submit, context, 1, &request) != 1) die("io_submit");
}

int main(int argc, char **argv) {
  if (argc != 7) return 2;
  is_read = !strcmp(argv[2], "read");
  is_random = !strcmp(argv[3], "random");
  bytes = strtoull(argv[4], NULL, 10);
  int depth = atoi(argv[5]);
  int64_t limit = atoll(argv[6]) * 1000000;
  if ((fd = open(argv[1], O_RDWR | O_DIRECT)) < 0) die(argv[1]);
  places = lseek(fd, 0, SEEK_END) / bytes;
  char *memory = mmap(NULL, bytes * depth, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  aio_context_t context = 0;
  if (memory == MAP_FAILED || syscall(SYS_io_setup, DEPTH_MAX, &context)) die("io_setup");
  static struct iocb requests[DEPTH_MAX];
  static struct io_event events[DEPTH_MAX];
  int64_t start = now(), end = start;
  for (int i = 0; i < depth; i++) {
    requests[i].aio_buf = (uintptr_t)(memory + i * bytes);
    requests[i].aio_data = i;
    submit(context, requests + i);
  }
  long done = 0;
  for (int left = depth; left > 0;) {
    long count = syscall(SYS_io_getevents, context, 1, DEPTH_MAX, events, NULL);
    if (count < 1) die("io_getevents");
    end = now();
    for (long i = 0; i < count; i++) {
      if (events[i].res != (int64_t)bytes) die("a request");
      if (end - start < limit) submit(context, requests + events[i].data);
      else left--;
    }
    done += count;
  }
  printf("done %ld %lld\n", done, (long long)(end - start));
  return 0;
}
