/* What a shell cannot ask of a file system: run in the guest, in the shared directory, with the files hard, moved and copied. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

static const char *outcome(int result) { return result < 0 ? strerrorname_np(errno) : "done"; }

int main(void) {
  char value[600] = "", list[100] = "", long_value[500];
  memset(long_value, 'x', sizeof long_value);
  const char *set = outcome(setxattr("hard", "user.key", "value", 5, 0));
  setxattr("moved", "user.long", long_value, sizeof long_value, 0);
  getxattr("hard", "user.key", value, sizeof value);
  listxattr("hard", list, sizeof list);
  printf("xattr %s %s %s %zd", set, value, list, getxattr("moved", "user.long", long_value, sizeof long_value));
  printf(" %s", outcome(removexattr("moved", "user.long")));
  printf(" %s\n", outcome(getxattr("moved", "user.long", value, sizeof value)));

  printf("refused %s", outcome(setxattr("hard", "trusted.key", "x", 1, 0)));
  printf(" %s", outcome(mknod("device", S_IFCHR | 0600, makedev(1, 3))));
  printf(" %s\n", outcome(chown("hard", 5, 5)));

  struct stat about;
  int sparse = open("sparse", O_RDWR | O_CREAT, 0600), copied = open("copied", O_RDONLY);
  pwrite(sparse, "x", 1, 1 << 20);
  fstat(sparse, &about);
  printf("hole %ld %ld\n", (long)lseek(sparse, 0, SEEK_DATA), (long)about.st_size);
  printf("allocate %s", outcome(fallocate(sparse, 0, 0, 4 << 20)));
  fstat(sparse, &about);
  printf(" %ld\n", (long)about.st_size);
  loff_t to = 0;
  printf("range %zd\n", copy_file_range(copied, NULL, sparse, &to, 100, 0));

  struct statvfs fs;
  statvfs(".", &fs);
  printf("statvfs %d %lu\n", fs.f_blocks > 0, fs.f_namemax);
  printf("exchange %s", outcome(renameat2(AT_FDCWD, "hard", AT_FDCWD, "renamed", RENAME_NOREPLACE)));
  printf(" %s", outcome(renameat2(AT_FDCWD, "renamed", AT_FDCWD, "copied", RENAME_NOREPLACE)));
  printf(" %s\n", outcome(mkfifo("fifo", 0600)));
  return 0;
}
