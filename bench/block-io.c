/*
 * Reads or writes blocks of a file at random places, by one preadv or pwritev each or by io_uring in batches: what a batch of
 * a queue's requests costs either way. `cold` reads what is not in the page cache. Prints nanoseconds of processor time and of
 * time for a request.
 *
 *   block-io PATH read|cold|write BYTES DEPTH REQUESTS sync|uring
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static double busy(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static uint64_t state = 88172645463325252u;
static uint64_t next(void) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

static void die(const char *what) {
  perror(what);
  exit(1);
}

int main(int argc, char **argv) {
  if (argc != 7) return 2;
  int is_cold = !strcmp(argv[2], "cold"), is_read = strcmp(argv[2], "write") != 0, is_uring = !strcmp(argv[6], "uring");
  size_t bytes = strtoul(argv[3], NULL, 10);
  unsigned depth = strtoul(argv[4], NULL, 10), requests = strtoul(argv[5], NULL, 10);
  int fd = open(argv[1], O_RDWR);
  struct stat st;
  if (fd < 0 || fstat(fd, &st)) die(argv[1]);
  if (is_cold && (fdatasync(fd) || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))) die("posix_fadvise");
  if (posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM)) die("posix_fadvise");
  uint64_t places = st.st_size / bytes;
  char *memory = mmap(NULL, bytes * depth, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  struct iovec iov[depth];
  for (unsigned i = 0; i < depth; i++) iov[i] = (struct iovec){memory + i * bytes, bytes};

  struct io_uring_params p = {0};
  int ring = -1;
  unsigned *sq_tail = 0, *sq_mask = 0, *sq_array = 0, *cq_head = 0, *cq_tail = 0, *cq_mask = 0;
  struct io_uring_sqe *sqes = 0;
  struct io_uring_cqe *cqes = 0;
  if (is_uring) {
    ring = syscall(SYS_io_uring_setup, depth, &p);
    if (ring < 0) die("io_uring_setup");
    size_t size = p.sq_off.array + p.sq_entries * 4, cq_size = p.cq_off.cqes + p.cq_entries * sizeof *cqes;
    if (cq_size > size) size = cq_size;
    char *m = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQ_RING);
    sqes = mmap(0, p.sq_entries * sizeof *sqes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQES);
    if (m == MAP_FAILED || sqes == MAP_FAILED) die("mmap");
    sq_tail = (void *)(m + p.sq_off.tail), sq_mask = (void *)(m + p.sq_off.ring_mask), sq_array = (void *)(m + p.sq_off.array);
    cq_head = (void *)(m + p.cq_off.head), cq_tail = (void *)(m + p.cq_off.tail), cq_mask = (void *)(m + p.cq_off.ring_mask);
    cqes = (void *)(m + p.cq_off.cqes);
  }
  double start = seconds(), start_busy = busy();
  for (unsigned done = 0; done < requests; done += depth) {
    if (!is_uring) {
      for (unsigned i = 0; i < depth; i++) {
        off_t at = next() % places * bytes;
        ssize_t n = is_read ? preadv(fd, iov + i, 1, at) : pwritev(fd, iov + i, 1, at);
        if (n != (ssize_t)bytes) die("transfer");
      }
      continue;
    }
    unsigned tail = *sq_tail;
    for (unsigned i = 0; i < depth; i++, tail++) {
      struct io_uring_sqe *sqe = sqes + (tail & *sq_mask);
      memset(sqe, 0, sizeof *sqe);
      sqe->opcode = is_read ? IORING_OP_READV : IORING_OP_WRITEV;
      sqe->fd = fd;
      sqe->addr = (uintptr_t)(iov + i);
      sqe->len = 1;
      sqe->off = next() % places * bytes;
      sq_array[tail & *sq_mask] = tail & *sq_mask;
    }
    __atomic_store_n(sq_tail, tail, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, ring, depth, depth, IORING_ENTER_GETEVENTS, 0, 0) != (int)depth) die("io_uring_enter");
    unsigned head = *cq_head;
    for (unsigned end = __atomic_load_n(cq_tail, __ATOMIC_ACQUIRE); head != end; head++)
      if (cqes[head & *cq_mask].res != (int)bytes) die("completion");
    __atomic_store_n(cq_head, head, __ATOMIC_RELEASE);
  }
  printf("%.0f %.0f\n", (busy() - start_busy) * 1e9 / requests, (seconds() - start) * 1e9 / requests);
}
