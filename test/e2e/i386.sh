# Run by the i386 busybox in the guest and on the host, as $BUSYBOX: prints nothing that depends on the machine, the time or the user.
set -u
folder=$($BUSYBOX mktemp -d); cd "$folder" || exit 1
for applet in awk sed sha256sum sha512sum sha3sum md5sum sort uniq gzip bzip2 xz gunzip bunzip2 tar cpio bc dc od xxd base64 tr cut head tail \
  wc seq expr diff factor crc32 find grep printf rev tac fold paste nl strings cal date mkdir cat cp dd rm; do
  eval "$applet() { \$BUSYBOX $applet \"\$@\"; }"
done

echo "== shell"
a=0 b=1 i=0; while [ $i -lt 90 ]; do c=$((a + b)); a=$b; b=$c; i=$((i + 1)); done; echo "$a"
echo "$((9223372036854775807 / 3)) $((-7 % 3)) $((1 << 62)) $((0x7fffffff * 0x7fffffff)) $((-9000000000000 / 7)) $((12345678901234 % 97))"
x='one two  three'; set -- $x; echo "$# ${x%% *} ${x##* } ${#x} ${x/two/2}"
f() { [ "$1" -le 1 ] && echo 1 || echo $(($1 * $(f $(($1 - 1))))); }; f 15
printf '%s|%5d|%-5s|%05.2f|%x|%e\n' text 42 ab 3.14159 255 12345.678
(exit 7) || echo "status $?"; echo piped | { read -r line; echo "$line"; }; (sleep 0 & wait $!; echo "waited $?")
trap 'echo trapped' USR1; kill -USR1 $$; trap - USR1
seq 1 9000 | awk '{ print $1, "line", $1 * 7919 % 10007 }' >lines; wc lines; cat </dev/null

echo "== awk"
awk '{ s += $3; if ($3 > m) m = $3; c[$3 % 5]++ } END { print s, m, s / NR; for (i = 0; i < 5; i++) print i, c[i] }' lines
awk 'BEGIN { for (i = 1; i <= 6; i++) printf "%.14g %.14g %.17g %d\n", 1 / i, 0.1 * i, 1e-9 * i, 1099511627776 / i; print 9007199254740993, -7 % 3, 1e300 * 1e10, 5.5 % 2, substr("processor", 3, 4), toupper("abc"), index("haystack", "st") }'
awk 'BEGIN { print and(4294967295, 252645135), or(1, 4294967294), xor(65535, 3855), lshift(1, 20), rshift(4294967295, 7); n = split("a:b:c", p, ":"); print n, p[3]; gsub(/o/, "0", t = "foo"); printf "%c%5.3s|%-8s|%+d\n", 65, "abcdef", "x", 5 }'

echo "== sed, sort, uniq"
sed -n -e '1,5s/line/LINE/p' -e '$p' lines
sed -E 's/([0-9]+) line ([0-9]+)/\2 \1/' lines | sort -n | head -5
sort -k3,3nr -k1,1n lines | head -3; sort -r lines | tail -2; cut -d' ' -f3 lines | sort -n | uniq -c | sort -k1,1nr -k2,2n | head -3
sort -k3,3n lines | md5sum

echo "== digests"
for digest in md5sum sha256sum sha512sum sha3sum; do $digest <lines; done
crc32 lines

echo "== compression"
for program in gzip bzip2; do $program -c <lines >packed; wc -c <packed; $program -dc <packed | sha256sum; done
gzip -9 <lines | sha256sum; gzip -1 <lines | gunzip | md5sum
mkdir -p t/u; cp lines t/u/; echo hello >t/hello; tar cf - t/u/lines t/hello | tar xOf - t/hello; find t -type f | sort | cpio -o -H newc 2>/dev/null | cpio -it 2>/dev/null
tar czf t.tgz t; tar tzf t.tgz | sort

echo "== bc, dc"
echo 'scale=40; 4*a(1); e(1); l(2); s(1); sqrt(2); 1/7' | bc -l
echo '2^521-1; define f(n) { if (n <= 1) return 1; return n*f(n-1); }; f(80); 10^60/7; -17%5; obase=16; 255^9; ibase=2; 101101' | bc
echo '20k 2v p 3 7/p 12345678901234567890 98765432109876543210*p 2 200^p 16o 123456789p' | dc

echo "== text"
head -c 300 lines | od -A x -t x1 | head -4; head -c 48 lines | xxd; base64 <lines | md5sum; base64 <lines | base64 -d | md5sum
tr a-z A-Z <lines | rev | tac | head -2; fold -w 17 lines | tail -2; seq 1 6 | paste - - -; echo abc | nl
factor 4294967291 1000036000099 9223372036854775808; expr 123456789 \* 987654321; cal 2 2024
date -u -d @1700000000 '+%Y-%m-%d %H:%M:%S %j %a'; dd if=lines bs=1000 count=3 skip=7 2>/dev/null | md5sum
seq 1 5 >s1; seq 2 7 >s2; diff s1 s2 | grep -v '^[-+][-+]'; grep -c 'line [0-9]*7$' lines; grep -E '^(89|77)[0-9]{2} ' lines | tail -1
cd /; rm -rf "$folder"
