/*
 * Both ends of the bench net-guest. In the guest, for a time; prints how many bytes or round trips there were and the nanoseconds that
 * took:
 *
 *   net-guest send|receive ADDRESS PORT MILLISECONDS         bytes of one TCP stream
 *   net-guest ping ADDRESS PORT MILLISECONDS DEPTH           datagrams of PING_BYTES, so many on their way at a time
 *
 * On the host, at all addresses, until its parent ends; makes the file READY when it listens:
 *
 *   net-guest serve PORT READY
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER_BYTES = 128 << 10, PING_BYTES = 64, PATIENCE_MS = 500 };

static char buffer[BUFFER_BYTES];

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void die(const char *what) {
  perror(what);
  exit(1);
}

static int open_socket(int type, const char *address, const char *port, int listens) {
  struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
  int fd = socket(AF_INET, type, 0), on = 1;
  if (fd < 0 || (address && !inet_aton(address, &place.sin_addr))) die("socket");
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if ((listens ? bind : connect)(fd, (struct sockaddr *)&place, sizeof place)) die(listens ? "bind" : "connect");
  return fd;
}

static void report(int64_t count, int64_t start) { printf("done %lld %lld\n", (long long)count, (long long)(now() - start)); }

/* The other end has taken all of it when it answers. */
static void send_stream(int fd, int64_t limit) {
  int64_t start = now(), count = 0;
  while (now() - start < limit) {
    ssize_t sent = write(fd, buffer, sizeof buffer);
    if (sent < 0) die("write");
    count += sent;
  }
  shutdown(fd, SHUT_WR);
  if (read(fd, buffer, 1) != 1) die("the other end");
  report(count, start);
}

static void receive_stream(int fd, int64_t limit) {
  int64_t start = now(), count = 0;
  while (now() - start < limit) {
    ssize_t got = read(fd, buffer, sizeof buffer);
    if (got <= 0) die("read");
    count += got;
  }
  report(count, start);
}

/* What does not come back within the time is lost, and another is sent for it. */
static void ping(int fd, int64_t limit, int depth) {
  struct timeval patience = {.tv_usec = PATIENCE_MS * 1000};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  int64_t start = now(), count = 0;
  for (int i = 0; i < depth; i++)
    if (send(fd, buffer, PING_BYTES, 0) != PING_BYTES) die("send");
  while (now() - start < limit) {
    if (recv(fd, buffer, sizeof buffer, 0) >= 0) count++;
    else if (errno != EAGAIN) die("recv");
    else fprintf(stderr, "net-guest: a ping is lost\n");
    if (send(fd, buffer, PING_BYTES, 0) != PING_BYTES) die("send");
  }
  report(count, start);
}

static void end_with_parent(void) { prctl(PR_SET_PDEATHSIG, SIGKILL); }

static void serve_stream(int fd) {
  char wanted;
  if (read(fd, &wanted, 1) != 1) return;
  if (wanted == 's') {
    while (read(fd, buffer, sizeof buffer) > 0);
    if (write(fd, "!", 1) != 1) return;
  } else
    while (write(fd, buffer, sizeof buffer) > 0);
}

static void serve(const char *port, const char *ready) {
  end_with_parent();
  signal(SIGPIPE, SIG_IGN);
  signal(SIGCHLD, SIG_IGN);
  int streams = open_socket(SOCK_STREAM, NULL, port, 1), datagrams = open_socket(SOCK_DGRAM, NULL, port, 1);
  if (listen(streams, 8)) die("listen");
  close(creat(ready, 0600));
  struct pollfd waiting[] = {{.fd = streams, .events = POLLIN}, {.fd = datagrams, .events = POLLIN}};
  while (poll(waiting, 2, -1) > 0) {
    if (waiting[1].revents) {
      struct sockaddr_in from;
      socklen_t length = sizeof from;
      ssize_t got = recvfrom(datagrams, buffer, sizeof buffer, 0, (struct sockaddr *)&from, &length);
      if (got >= 0) sendto(datagrams, buffer, got, 0, (struct sockaddr *)&from, length);
    }
    if (!waiting[0].revents) continue;
    int fd = accept(streams, NULL, NULL);
    if (fork() == 0) {
      end_with_parent();
      serve_stream(fd);
      _exit(0);
    }
    close(fd);
  }
}

int main(int argc, char **argv) {
  if (argc == 4 && !strcmp(argv[1], "serve")) serve(argv[2], argv[3]);
  if (argc < 5) return 2;
  int64_t limit = atoll(argv[4]) * 1000000;
  if (!strcmp(argv[1], "ping")) {
    ping(open_socket(SOCK_DGRAM, argv[2], argv[3], 0), limit, argc > 5 ? atoi(argv[5]) : 1);
    return 0;
  }
  int fd = open_socket(SOCK_STREAM, argv[2], argv[3], 0);
  if (write(fd, argv[1], 1) != 1) die("write");
  (argv[1][0] == 's' ? send_stream : receive_stream)(fd, limit);
  return 0;
}
