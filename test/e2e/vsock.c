/*
 * A stream of AF_VSOCK in the guest: standard input goes into it, what comes out goes to standard output, each to its end.
 *   vsock connect PORT    to the host
 *   vsock listen PORT     takes one connection; says "listening" on standard error before
 */
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void copy(int from, int to) {
  static char buffer[65536];
  for (;;) {
    ssize_t count = read(from, buffer, sizeof buffer);
    if (count < 0) { perror("read"); exit(1); }
    if (count == 0) return;
    for (ssize_t done = 0; done < count;) {
      ssize_t written = write(to, buffer + done, count - done);
      if (written < 0) { perror("write"); exit(1); }
      done += written;
    }
  }
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  struct sockaddr_vm address = { .svm_family = AF_VSOCK, .svm_port = (unsigned)strtoul(argv[2], NULL, 10) };
  int stream = socket(AF_VSOCK, SOCK_STREAM, 0);
  if (stream < 0) { perror("socket"); return 1; }
  if (strcmp(argv[1], "listen") == 0) {
    int listener = stream;
    address.svm_cid = VMADDR_CID_ANY;
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 1)) { perror("listen"); return 1; }
    fputs("listening\n", stderr);
    struct sockaddr_vm peer;
    socklen_t size = sizeof peer;
    stream = accept(listener, (void *)&peer, &size);
    if (stream < 0) { perror("accept"); return 1; }
    fprintf(stderr, "peer %u\n", peer.svm_cid);
  } else {
    address.svm_cid = VMADDR_CID_HOST;
    if (connect(stream, (void *)&address, sizeof address)) { perror("connect"); return 3; }
  }
  pid_t child = fork();
  if (child == 0) {
    copy(0, stream);
    shutdown(stream, SHUT_WR);
    return 0;
  }
  copy(stream, 1);
  int status;
  waitpid(child, &status, 0);
  return status != 0;
}
