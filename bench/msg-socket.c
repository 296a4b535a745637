/* A message of SIZE_BYTES there and back between two processes over a SOCK_SEQPACKET pair. Arguments: the round trips, and
 * `posted` for messages of which only the last is answered. Prints the nanoseconds of one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SIZE_BYTES = 16 };

/* The first byte says whether an answer is wanted. */
static void post(int fd, char *message) {
  message[0] = 0;
  if (send(fd, message, SIZE_BYTES, 0) != SIZE_BYTES) exit(1);
}

static void trip(int fd, char *message) {
  message[0] = 1;
  if (send(fd, message, SIZE_BYTES, 0) != SIZE_BYTES || recv(fd, message, SIZE_BYTES, 0) != SIZE_BYTES) exit(1);
}

int main(int argc, char **argv) {
  long count = argc > 1 ? atol(argv[1]) : 100000;
  void (*ask)(int, char *) = argc > 2 && !strcmp(argv[2], "posted") ? post : trip;
  int ends[2];
  char message[SIZE_BYTES] = {0};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) return 1;
  if (fork() == 0) {
    close(ends[0]);
    while (recv(ends[1], message, SIZE_BYTES, 0) == SIZE_BYTES)
      if (message[0]) send(ends[1], message, SIZE_BYTES, 0);
    _exit(0);
  }
  close(ends[1]);
  for (long i = 0; i < count / 10; i++) ask(ends[0], message);
  trip(ends[0], message);
  struct timespec start, end;
  clock_gettime(CLOCK_MONOTONIC, &start);
  for (long i = 1; i < count; i++) ask(ends[0], message);
  trip(ends[0], message);
  clock_gettime(CLOCK_MONOTONIC, &end);
  close(ends[0]);
  wait(NULL);
  printf("%.1f\n", ((end.tv_sec - start.tv_sec) * 1e9 + (end.tv_nsec - start.tv_nsec)) / count);
  return 0;
}
