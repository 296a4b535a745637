/* A message of SIZE_BYTES there and back between two processes over a SOCK_SEQPACKET pair. Argument: the round trips.
 * Prints the nanoseconds of one. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SIZE_BYTES = 16 };

static void trip(int fd, char *message) {
  if (send(fd, message, SIZE_BYTES, 0) != SIZE_BYTES || recv(fd, message, SIZE_BYTES, 0) != SIZE_BYTES) exit(1);
}

int main(int argc, char **argv) {
  long count = argc > 1 ? atol(argv[1]) : 100000;
  int ends[2];
  char message[SIZE_BYTES] = {0};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) return 1;
  if (fork() == 0) {
    close(ends[0]);
    while (recv(ends[1], message, SIZE_BYTES, 0) == SIZE_BYTES) send(ends[1], message, SIZE_BYTES, 0);
    _exit(0);
  }
  close(ends[1]);
  for (long i = 0; i < count / 10; i++) trip(ends[0], message);
  struct timespec start, end;
  clock_gettime(CLOCK_MONOTONIC, &start);
  for (long i = 0; i < count; i++) trip(ends[0], message);
  clock_gettime(CLOCK_MONOTONIC, &end);
  close(ends[0]);
  wait(NULL);
  printf("%.1f\n", ((end.tv_sec - start.tv_sec) * 1e9 + (end.tv_nsec - start.tv_nsec)) / count);
  return 0;
}
