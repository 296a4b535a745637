/*
 * A static program of 32 bits without a library, for the kernel's compatibility with i386: system calls by INT 80h and by the
 * vDSO's entry, segments of thread-local storage, signals, instructions that 64-bit code does not have. What it prints is the
 * same on every machine; the one line that is not (how the vDSO enters the kernel) comes with the parameter "entry".
 *
 * cc -m32 -O1 -ffreestanding -fno-pic -fno-stack-protector -fcf-protection=none -msse2 -mfpmath=sse -nostdlib -static -no-pie
 */
typedef unsigned int u32;
typedef unsigned long long u64;

/* arch/x86/entry/syscalls/syscall_32.tbl */
enum {
  SYS_exit = 1, SYS_fork = 2, SYS_write = 4, SYS_open = 5, SYS_waitpid = 7, SYS_getpid = 20, SYS_kill = 37, SYS_pipe = 42,
  SYS_read = 3, SYS_sigaction = 67, SYS_modify_ldt = 123, SYS_sched_yield = 158, SYS_rt_sigaction = 174, SYS_pread64 = 180,
  SYS_sigaltstack = 186, SYS_mmap2 = 192, SYS_set_thread_area = 243,
};
enum { SIGILL = 4, SIGTRAP = 5, SIGBUS = 7, SIGFPE = 8, SIGUSR1 = 10, SIGSEGV = 11, SIGUSR2 = 12 };
enum { SA_SIGINFO = 4, SA_ONSTACK = 0x08000000 };
enum { AT_SYSINFO = 32 };

static u32 vsyscall;

static u32 call_int80(u32 n, u32 a, u32 b, u32 c) {
  u32 r;
  asm volatile("int $0x80" : "=a"(r) : "a"(n), "b"(a), "c"(b), "d"(c) : "memory");
  return r;
}

static u32 call_vdso(u32 n, u32 a, u32 b, u32 c) {
  u32 r;
  asm volatile("call *%5" : "=a"(r) : "a"(n), "b"(a), "c"(b), "d"(c), "m"(vsyscall) : "memory");
  return r;
}

struct six { u32 a, b, c, d, e, f; };

/* The sixth parameter is in EBP, which the vDSO's entry passes over the stack. */
u32 call_six(u32 n, const struct six *p, u32 entry);
asm("call_six: push %ebp; push %ebx; push %esi; push %edi; mov 20(%esp),%eax; mov 24(%esp),%ebp; mov 28(%esp),%esi\n"
    "  push %esi; mov (%ebp),%ebx; mov 4(%ebp),%ecx; mov 8(%ebp),%edx; mov 12(%ebp),%esi; mov 16(%ebp),%edi; mov 20(%ebp),%ebp\n"
    "  cmpl $0,(%esp); je 1f; call *(%esp); jmp 2f\n"
    "1: int $0x80\n"
    "2: add $4,%esp; pop %edi; pop %esi; pop %ebx; pop %ebp; ret");

void *memcpy(void *to, const void *from, u32 n) {
  void *start = to;
  asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
  return start;
}
void *memset(void *to, int value, u32 n) {
  void *start = to;
  asm volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(value) : "memory");
  return start;
}

static void text(const char *s) {
  u32 n = 0;
  while (s[n]) n++;
  call_vdso(SYS_write, 1, (u32)s, n);
}

static void line(const char *name, const u32 *values, u32 count) {
  char out[200];
  u32 n = 0;
  while (*name) out[n++] = *name++;
  for (u32 i = 0; i < count; i++) {
    out[n++] = ' ';
    for (int shift = 28; shift >= 0; shift -= 4) out[n++] = "0123456789abcdef"[values[i] >> shift & 15];
  }
  out[n++] = '\n';
  call_int80(SYS_write, 1, (u32)out, n);
}
#define LINE(name, ...) do { const u32 v_[] = {__VA_ARGS__}; line(name, v_, sizeof v_ / sizeof *v_); } while (0)
#define LOW_HIGH(x) (u32)(x), (u32)((x) >> 32)

static u64 bits(double x) {
  u64 r;
  memcpy(&r, &x, 8);
  return r;
}

/* --- system calls --- */

static void system_calls(void) {
  LINE("getpid agrees", call_int80(SYS_getpid, 0, 0, 0) == call_vdso(SYS_getpid, 0, 0, 0));
  LINE("errno", call_int80(SYS_write, 99, 0, 0), call_vdso(SYS_read, 99, 0, 0), call_int80(9999, 0, 0, 0));
  u32 fd = call_vdso(SYS_open, (u32) "/proc/self/exe", 0, 0);
  static u32 page[64];
  const struct six pread = {fd, (u32)page, sizeof page, 4096, 0, 0};
  for (u32 way = 0; way < 2; way++) {
    u32 entry = way ? vsyscall : 0;
    const struct six map = {0, 4096, 1, 2, fd, 1};
    const u32 *mapped = (const u32 *)call_six(SYS_mmap2, &map, entry);
    u32 count = call_six(SYS_pread64, &pread, entry), differs = 0;
    for (u32 i = 0; i < 64; i++) differs += mapped[i] != page[i];
    LINE("six parameters", count, differs);
  }
  int ends[2], status = 0;
  u32 word = 0;
  call_int80(SYS_pipe, (u32)ends, 0, 0);
  u32 child = call_vdso(SYS_fork, 0, 0, 0);
  if (child == 0) {
    word = 0x600dcafe;
    call_vdso(SYS_write, ends[1], (u32)&word, 4);
    call_int80(SYS_exit, 42, 0, 0);
  }
  call_vdso(SYS_read, ends[0], (u32)&word, 4);
  LINE("child", call_int80(SYS_waitpid, child, (u32)&status, 0) == child, status, word);
}

/* --- segments --- */

struct user_desc { u32 entry, base, limit, flags; };
enum { SEG_32BIT = 1, LIMIT_IN_PAGES = 16, USEABLE = 64 };

static u32 storage[4] = {0x11111111, 0x22222222, 0, 0};
static u32 local[4] = {0x33333333, 0x44444444, 0, 0};

static void segments(void) {
  struct user_desc tls = {-1u, (u32)storage, 0xfffff, SEG_32BIT | LIMIT_IN_PAGES | USEABLE};
  LINE("set_thread_area", call_int80(SYS_set_thread_area, (u32)&tls, 0, 0), tls.entry);
  u32 a, b, c, gs = tls.entry * 8 + 3;
  asm volatile("mov %0,%%gs" : : "r"(gs));
  for (int i = 0; i < 50; i++) call_vdso(SYS_sched_yield, 0, 0, 0);
  if (call_int80(SYS_fork, 0, 0, 0) == 0) {
    asm volatile("mov %%gs:0,%0" : "=r"(a));
    call_int80(SYS_exit, a != 0x11111111, 0, 0);
  }
  call_int80(SYS_waitpid, -1u, (u32)&c, 0);
  asm volatile("mov %%gs:0,%0; mov %%gs,%1; movl $0x55555555,%%gs:8" : "=r"(a), "=r"(b) : : "memory");
  asm volatile("movl %%gs:(%1),%0" : "=r"(a) : "r"(-4u + 8));
  LINE("gs", a, b, storage[2], c);
  struct user_desc ldt = {2, (u32)local, 0xfffff, SEG_32BIT | LIMIT_IN_PAGES | USEABLE};
  u32 set = call_vdso(SYS_modify_ldt, 1, (u32)&ldt, sizeof ldt);
  asm volatile("mov %3,%%fs; mov %%fs:4,%0; mov %%fs,%1; lsl %1,%2; push %%fs; pop %%es; mov %%es:0,%1; push %%ds; pop %%es"
               : "=&r"(a), "=&r"(b), "=&r"(c) : "r"(2 * 8 + 7));
  LINE("ldt", set, a, b, c);
  u32 cs, ss;
  asm volatile("mov %%cs,%0; mov %%ss,%1" : "=r"(cs), "=r"(ss));
  LINE("cs ss", cs, ss);
}

/* A far call to 64-bit code at the user's own selector for it, and back. */
static void long_mode(void) {
  u32 low, high;
  asm volatile("lcall $0x33,$1f; jmp 2f\n"
               "1: .byte 0x48,0xb8,0xef,0xcd,0xab,0x89,0x67,0x45,0x23,0x01\n" /* mov rax,123456789abcdefh */
               "   .byte 0x4c,0x8d,0x04,0x40\n"                                /* lea r8,[rax+rax*2] */
               "   .byte 0x4c,0x89,0xc2,0x48,0xc1,0xea,0x20\n"                /* mov rdx,r8; shr rdx,32 */
               "   .byte 0x44,0x89,0xc0,0xcb\n"                               /* mov eax,r8d; retf */
               "2:" : "=a"(low), "=d"(high) : : "memory");
  LINE("64-bit code", low, high);
}

/* --- arithmetic --- */

/* Scalar SSE2 and the 80 bits of the x87. */
static double chain(double x) {
  for (int i = 1; i < 20; i++) x = x * 1.25 - 1.0 / i;
  return x;
}
static double long_chain(long double x) {
  for (int i = 1; i < 20; i++) x = x * 1.25L - 1.0L / i;
  return x;
}

static void floating_point(void) {
  typedef double pair __attribute__((vector_size(16)));
  typedef int quad __attribute__((vector_size(16)));
  pair x = {1.5, -2.25}, y = {3.0, 0.1}, z;
  quad q;
  asm volatile("movapd %1,%0; addpd %2,%0; mulpd %2,%0; sqrtpd %2,%%xmm7; subpd %%xmm7,%0" : "=&x"(z) : "x"(x), "x"(y) : "xmm7");
  LINE("sse2 double", LOW_HIGH(bits(z[0])), LOW_HIGH(bits(z[1])));
  asm volatile("cvttpd2dq %1,%0; pshufd $0x4e,%0,%%xmm6; paddd %%xmm6,%0; pmuludq %%xmm6,%%xmm6; pxor %%xmm6,%0"
               : "=&x"(q) : "x"(y * 1e6) : "xmm6");
  LINE("sse2 integer", q[0], q[1], q[2], q[3]);
  volatile double third = 1, three = 3;
  double root, pi, quotient = third / three;
  int rounded;
  unsigned char decimal[10];
  asm("fsqrt" : "=t"(root) : "0"(2.0));
  asm("fldpi" : "=t"(pi));
  LINE("x87", LOW_HIGH(bits(root)), LOW_HIGH(bits(pi)), LOW_HIGH(bits(quotient)), LOW_HIGH(bits(long_chain(root))));
  LINE("sse2 scalar", LOW_HIGH(bits(chain(root))), LOW_HIGH(bits((float)root)), (int)(root * 1e6));
  asm volatile("fistpl %0" : "=m"(rounded) : "t"(-12345.5) : "st");
  asm volatile("fbstp %0" : "=m"(decimal) : "t"(-9876543210.0) : "st");
  u32 environment[7];
  asm volatile("fninit; fld1; fldz; fdivrp; fnstenv %0; fninit" : "=m"(environment));
  LINE("x87 integers", rounded, decimal[0], decimal[4], decimal[9], environment[0], environment[1], environment[2]);
  LINE("long long", LOW_HIGH(0x123456789abcdefull * (u64)(u32)three), LOW_HIGH((u64)((long long)(-7e15 * three) >> 3)));
}

/* Instructions that are something else, or nothing, in 64-bit code. */
static void legacy(void) {
  u32 a, b, c;
  asm volatile("mov $0x1239,%%eax; add $0x48,%%al; daa; mov %%eax,%0; mov $0x0241,%%eax; sub $0x57,%%al; das; mov %%eax,%1\n"
               "mov $0x020b,%%eax; aaa; mov %%eax,%2" : "=&r"(a), "=&r"(b), "=&r"(c) : : "eax", "cc");
  LINE("decimal", a, b, c);
  asm volatile("mov $0x01fb,%%eax; aas; mov %%eax,%0; mov $97,%%eax; aam; mov %%eax,%1; aad; mov %%eax,%2"
               : "=&r"(a), "=&r"(b), "=&r"(c) : : "eax", "cc");
  LINE("ascii", a, b, c);
  asm volatile("pusha; mov %%esp,%%ebp; mov %%esp,12(%%ebp); mov $1,%%eax; mov $2,%%ebx; mov $3,%%edi; popa" : : : "memory");
  asm volatile("stc; .byte 0xd6; movsx %%al,%0; enter $16,$2; mov %%ebp,%1; sub %%esp,%1; leave; push $-5; pushw $3; popw %%ax; pop %2"
               : "=r"(a), "=&r"(b), "=&r"(c) : : "eax", "memory");
  LINE("salc enter push", a, b, c);
  u32 pointer[2] = {0x12345678, 0};
  asm volatile("mov %%ds,4(%3); les (%3),%0; mov %%es,%1; lea (%%bx,%%si),%2; .byte 0x40,0x48" /* inc eax; dec eax */
               : "=&r"(a), "=&r"(b), "=&r"(c) : "r"(pointer), "b"(0xfff0), "S"(0x123) : "memory");
  LINE("les lea16", a, b, c);
  asm volatile("mov $0x10003,%%ecx; xor %0,%0; 1: inc %0; .byte 0x67,0xe2,0xfc; mov %%ecx,%1" : "=&a"(a), "=&d"(b) : : "ecx");
  LINE("loop with cx", a, b);
  u32 bounds[2] = {1, 9};
  asm volatile("mov $5,%%eax; bound %%eax,%1; mov %%eax,%0" : "=r"(a) : "m"(bounds) : "eax");
  asm volatile("mov %%ds,%%eax; or $3,%%eax; mov %%eax,%%ebx; and $~3,%%ebx; arpl %%ax,%%bx; mov %%ebx,%0; sub %%eax,%0"
               : "=&r"(b) : : "eax", "ebx", "cc");
  LINE("bound arpl", a, b);
}

/* --- signals --- */

struct sigaction { void *handler; u32 mask, flags; void *restorer; };
struct rt_sigaction { void *handler; u32 flags; void *restorer; u32 mask[2]; };
/* struct ucontext_ia32 up to the registers; asm/sigcontext.h */
struct context { u32 flags, link, stack[3]; u32 gs, fs, es, ds, edi, esi, ebp, esp, ebx, edx, ecx, eax, trapno, err, eip, cs, eflags; };
struct siginfo { int number, error, code; u32 address; };

static u32 old_signal, alternate_used, steps;
static void *resume_at;
static u32 resume_stack;
static char alternate[16384];

static void clobber(void) {
  asm volatile("fninit; fldpi; fldpi; fldl2e; pcmpeqd %%xmm0,%%xmm0; pcmpeqd %%xmm7,%%xmm7; xor %%ecx,%%ecx; mov %%ecx,%%gs"
               : : : "ecx", "xmm0", "xmm7");
}

static void on_signal(int number) {
  old_signal = number;
  clobber();
}

static void on_fault(int number, const struct siginfo *info, struct context *at) {
  u32 here = (u32)&number, segment;
  asm volatile("mov %%ss,%0" : "=r"(segment));
  alternate_used = here >= (u32)alternate && here < (u32)alternate + sizeof alternate;
  LINE("  fault", number, info->code, number == SIGSEGV ? info->address : info->address == at->eip, at->trapno, at->err,
       at->eax, alternate_used);
  clobber();
  at->eip = (u32)resume_at;
  at->esp = resume_stack;
  at->ds = at->es = segment;
  at->ecx = 0xc0ffee;
}

static void on_step(int number, const struct siginfo *info, struct context *at) {
  steps++;
  if (steps == 5) at->eflags &= ~0x100;
}

static void handle(int number, void *handler, u32 flags) {
  const struct rt_sigaction action = {handler, flags, 0, {0, 0}};
  call_int80(SYS_rt_sigaction, number, (u32)&action, 0);
  /* The size of the mask is the fourth parameter. */
  const struct six p = {number, (u32)&action, 0, 8, 0, 0};
  call_six(SYS_rt_sigaction, &p, vsyscall);
}

/* The handler goes on at the end with the stack of the start, and with a value in ECX. */
#define FAULT(name, code) do { \
  u32 after; \
  text(name "\n"); \
  asm volatile("movl $1f,%1; mov %%esp,%2; mov $0x1234,%%eax\n" code "\n1: mov %%ecx,%0" \
               : "=&S"(after), "=m"(resume_at), "=m"(resume_stack) : : "eax", "ecx", "edx", "edi", "memory", "cc"); \
  LINE("  after", after); \
} while (0)

static void signals(void) {
  u32 x, gs_before, gs_after;
  double a, b, c = 2.5;
  const struct sigaction old = {on_signal, 0, 0, 0};
  call_int80(SYS_sigaction, SIGUSR1, (u32)&old, 0);
  handle(SIGUSR2, on_signal, 0);
  for (int number = SIGUSR1; number <= SIGUSR2; number += 2) {
    u32 pid = call_vdso(SYS_getpid, 0, 0, 0);
    asm volatile("mov %%gs,%0" : "=r"(gs_before));
    asm volatile("movsd %5,%%xmm0; movapd %%xmm0,%%xmm7; fldl %5; fld1; mov %4,%%ecx; mov %3,%%ebx; mov %6,%%eax\n"
                 "stc; mov $0x5a5a,%%edx; push %%edx; int $0x80; pop %%edx; sbb %%eax,%%eax; sub %%eax,%%edx; faddp; fstpl %0; movsd %%xmm7,%1; mov %%edx,%2"
                 : "=m"(a), "=m"(b), "=&S"(x) : "m"(pid), "m"(number), "m"(c), "i"(SYS_kill)
                 : "eax", "ebx", "ecx", "edx", "xmm0", "xmm7", "cc", "memory");
    asm volatile("mov %%gs,%0" : "=r"(gs_after));
    LINE("handler", old_signal, LOW_HIGH(bits(a)), LOW_HIGH(bits(b)), x, gs_before == gs_after);
  }
  const u32 stack[3] = {(u32)alternate, 0, sizeof alternate};
  call_int80(SYS_sigaltstack, (u32)stack, 0, 0);
  for (int number = SIGILL; number <= SIGSEGV; number++)
    if (number != 6 && number != 9 && number != SIGUSR1) handle(number, on_fault, SA_SIGINFO | SA_ONSTACK);
  FAULT("read", "mov 0xdead0000,%%edx");
  FAULT("write", "movl $1,0x10");
  FAULT("read at the end", "mov 0xfffffffc,%%edx");
  FAULT("read with a carry out of the address", "mov $0xfffffff0,%%edx; mov 0x14(%%edx),%%ecx");
  FAULT("execute", "mov $0x100,%%edx; jmp *%%edx");
  FAULT("push without a stack", "mov $0x40,%%esp; push %%eax");
  FAULT("divide by zero", "xor %%ecx,%%ecx; xor %%edx,%%edx; div %%ecx");
  FAULT("aam by zero", ".byte 0xd4,0");
  FAULT("undefined", "ud2");
  FAULT("privileged", "cli; hlt");
  FAULT("breakpoint", "int3");
  FAULT("into", "mov $0x7fffffff,%%edx; inc %%edx; into");
  FAULT("bound", "push $9; push $1; mov $10,%%edx; bound %%edx,(%%esp)");
  FAULT("selector", "mov $0x1234,%%eax; mov %%eax,%%es");
  FAULT("far jump to the kernel", "ljmp $0x10,$0");
  FAULT("null selector", "xor %%eax,%%eax; mov %%eax,%%fs; mov %%fs:0x08048000,%%edx");
  FAULT("null data segment", "xor %%eax,%%eax; mov %%ds,%%edx; mov %%eax,%%ds; push $0x77; mov (%%esp),%%eax; movl (%%ecx),%%ecx");
  struct user_desc small = {-1u, (u32)storage, 7, SEG_32BIT | USEABLE};
  call_vdso(SYS_set_thread_area, (u32)&small, 0, 0);
  asm volatile("mov %1,%%fs; mov %%fs:4,%0" : "=r"(x) : "r"(small.entry * 8 + 3));
  LINE("inside a limit", small.entry, x);
  FAULT("beyond a limit", "mov $8,%%edx; mov %%fs:(%%edx),%%ecx");
  FAULT("string beyond a limit", "push %%fs; pop %%es; mov $9,%%ecx; xor %%eax,%%eax; xor %%edi,%%edi; rep stosb");
  handle(SIGTRAP, on_step, SA_SIGINFO);
  asm volatile("pushf; orl $0x100,(%%esp); popf; nop; mov $1,%%eax; inc %%eax; dec %%eax; inc %%eax; inc %%eax" : : : "eax", "cc");
  LINE("single steps", steps);
}

static void entry_line(void) {
  const unsigned char *p = (const unsigned char *)vsyscall;
  u32 i = 0;
  while (i < 16 && !(p[i] == 0x0f && (p[i + 1] == 0x34 || p[i + 1] == 0x05)) && !(p[i] == 0xcd && p[i + 1] == 0x80)) i++;
  text(p[i] == 0xcd ? "int 80h\n" : p[i + 1] == 0x34 ? "sysenter\n" : "syscall\n");
}

__attribute__((used)) static void start(const u32 *stack) {
  u32 count = stack[0];
  const u32 *p = stack + 1 + count + 1;
  while (*p) p++;
  for (p++; *p; p += 2)
    if (*p == AT_SYSINFO) vsyscall = p[1];
  if (count > 1) {
    entry_line();
  } else {
    system_calls();
    segments();
    long_mode();
    floating_point();
    legacy();
    signals();
  }
  call_vdso(SYS_exit, 0, 0, 0);
}
asm(".globl _start; _start: mov %esp,%eax; and $-16,%esp; sub $12,%esp; push %eax; call start");
