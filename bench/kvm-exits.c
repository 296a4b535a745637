/*
 * kvm-exits KIND COUNT: how long an exit of KVM takes, in nanoseconds, for a virtual machine monitor that does nothing else.
 * KIND: `out` for port output, `in` for port input, `mmio` for a byte written where there is no RAM. The guest is that of kvm-exits.ts.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

enum { RAM_BYTES = 0x10000, CODE_ADDRESS = 0x1000, PORT = 0x10, MMIO_SEGMENT = 0xa000, MMIO_ADDRESS = 0xa0000 };

static void fail(const char *what) {
  perror(what);
  exit(1);
}

/* What a device does with an access: as little as possible. */
static uint8_t device_value;

static void device_write(uint64_t address, const uint8_t *data, uint32_t size) {
  for (uint32_t index = 0; index < size; index++) device_value ^= data[index] + (uint8_t)address;
}

static void device_read(uint8_t *data, uint32_t size) { memset(data, device_value, size); }

static void handle_port(struct kvm_run *run) {
  uint8_t *data = (uint8_t *)run + run->io.data_offset;
  for (uint32_t element = 0; element < run->io.count; element++, data += run->io.size) {
    if (run->io.port != PORT) fail("another port");
    if (run->io.direction == KVM_EXIT_IO_OUT) device_write(run->io.port, data, run->io.size);
    else device_read(data, run->io.size);
  }
}

static void handle_mmio(struct kvm_run *run) {
  if (run->mmio.phys_addr != MMIO_ADDRESS) fail("another address");
  if (run->mmio.is_write) device_write(run->mmio.phys_addr, run->mmio.data, run->mmio.len);
  else device_read(run->mmio.data, run->mmio.len);
}

static void set_registers(int vcpu) {
  struct kvm_sregs sregs;
  if (ioctl(vcpu, KVM_GET_SREGS, &sregs) < 0) fail("KVM_GET_SREGS");
  sregs.cs.base = sregs.cs.selector = 0;
  sregs.es.selector = MMIO_SEGMENT;
  sregs.es.base = MMIO_SEGMENT << 4;
  if (ioctl(vcpu, KVM_SET_SREGS, &sregs) < 0) fail("KVM_SET_SREGS");
  struct kvm_regs regs = { .rip = CODE_ADDRESS, .rsp = CODE_ADDRESS, .rflags = 2 };
  if (ioctl(vcpu, KVM_SET_REGS, &regs) < 0) fail("KVM_SET_REGS");
}

static void write_code(uint8_t *ram, const char *kind) {
  static const uint8_t out[] = { 0xe6, PORT, 0xeb, 0xfc };              /* out PORT, al; jmp */
  static const uint8_t in[] = { 0xe4, PORT, 0xeb, 0xfc };               /* in al, PORT; jmp */
  static const uint8_t mmio[] = { 0x26, 0xa2, 0x00, 0x00, 0xeb, 0xfa }; /* mov es:[0], al; jmp */
  if (strcmp(kind, "out") == 0) memcpy(ram + CODE_ADDRESS, out, sizeof out);
  else if (strcmp(kind, "in") == 0) memcpy(ram + CODE_ADDRESS, in, sizeof in);
  else if (strcmp(kind, "mmio") == 0) memcpy(ram + CODE_ADDRESS, mmio, sizeof mmio);
  else exit(2);
}

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  long count = strtol(argv[2], NULL, 10);
  if (count < 1) return 2;
  int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (kvm < 0) fail("/dev/kvm");
  int vm = ioctl(kvm, KVM_CREATE_VM, 0);
  if (vm < 0) fail("KVM_CREATE_VM");
  if (ioctl(vm, KVM_SET_TSS_ADDR, 0xfeffd000) < 0) fail("KVM_SET_TSS_ADDR");
  if (ioctl(vm, KVM_CREATE_IRQCHIP, 0) < 0) fail("KVM_CREATE_IRQCHIP");
  uint8_t *ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (ram == MAP_FAILED) fail("mmap");
  struct kvm_userspace_memory_region region = { .memory_size = RAM_BYTES, .userspace_addr = (uintptr_t)ram };
  if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0) fail("KVM_SET_USER_MEMORY_REGION");
  write_code(ram, argv[1]);
  int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
  if (vcpu < 0) fail("KVM_CREATE_VCPU");
  int run_bytes = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
  struct kvm_run *run = mmap(NULL, run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
  if (run == MAP_FAILED) fail("mmap of kvm_run");
  set_registers(vcpu);
  int64_t started_ns = 0;
  /* The first tenth warms up. */
  for (long exits = 0; exits < count + count / 10; exits++) {
    if (exits == count / 10) started_ns = now_ns();
    if (ioctl(vcpu, KVM_RUN, 0) < 0) fail("KVM_RUN");
    if (run->exit_reason == KVM_EXIT_IO) handle_port(run);
    else if (run->exit_reason == KVM_EXIT_MMIO) handle_mmio(run);
    else fail("another exit");
  }
  printf("%.1f\n", (double)(now_ns() - started_ns) / count);
  return 0;
}
