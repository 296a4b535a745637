# Run by bash in the guest and on the host: prints nothing that depends on the machine, the time or the user.
set -u
echo "== bash"
for ((i = 0, a = 0, b = 1; i < 60; i++)); do c=$((a + b)); a=$b; b=$c; done; echo "$a"
declare -A words; for w in one two three two one two; do words[$w]=$((${words[$w]:-0} + 1)); done
for w in one two three; do echo "$w ${words[$w]}"; done
x='a b  c'; set -- $x; echo "$# ${x//b/B} ${x:2:3} $((16#ff)) $((7 % -3)) $((-7 / 2))"
printf '%s|%5d|%-5s|%05.2f|%x\n' text 42 ab 3.14159 255
seq_file=$(mktemp); for i in {1..20000}; do echo "$i line $((i * 7919 % 10007))"; done >"$seq_file"; wc -c <"$seq_file"

echo "== python3"
python3 - <<'PY'
import hashlib, math, sys, zlib, binascii, struct, random, cmath
data = bytes((i * 7 + 3) & 255 for i in range(200000))
for name in ('md5', 'sha1', 'sha256', 'sha512', 'sha3_256', 'blake2b'):
    print(name, hashlib.new(name, data).hexdigest())
print(zlib.crc32(data), zlib.adler32(data), len(zlib.compress(data, 9)))
print(2 ** 521 - 1, pow(3, 10 ** 6 + 3, 10 ** 40 + 13), math.factorial(60), 10 ** 50 // 7, -10 ** 30 % 977)
print([repr(f(x)) for f in (math.sin, math.cos, math.tan, math.exp, math.log, math.sqrt, math.atan) for x in (0.5, 1.0, 2.5, 1e-9)])
print([repr(x) for x in (0.1 + 0.2, 1 / 3, 1e308 * 10, 5e-324, 2 ** 0.5, -0.0, float('nan'), math.fsum([0.1] * 10))])
print([round(x * 0.37, 2) for x in range(12)], math.hypot(3, 4), cmath.sqrt(-2 + 1j), math.gamma(4.5), math.erf(0.3))
print(struct.pack('>dfq', math.pi, 2.5, -12345678901234).hex(), '%.17g %.3e %a'.replace('%a', '') % (math.e, 12345.678))
random.seed(42)
values = [random.random() for _ in range(50000)]
values.sort()
print(values[0], values[25000], values[-1], sum(values))
words = sorted(('%x' % (i * 2654435761 % 2 ** 32) for i in range(20000)), reverse=True)
print(words[:3], words[-3:], hash(12345678901234567890) , sum(map(len, words)))
print(sum(1 for n in range(2, 5000) if all(n % d for d in range(2, int(n ** 0.5) + 1))))
print({k: v for k, v in zip('abc', range(3))}, 'ß€𝄞'.encode(), 'straße'.upper(), f'{1234567.891:,.2f} {255:#b}')
try:
    1 / 0
except ZeroDivisionError as error:
    print(error)
PY

echo "== perl"
perl -e 'my %h; $h{$_ % 17} += $_ for 1..50000; print join(",", map { "$_=$h{$_}" } sort { $a <=> $b } keys %h), "\n";'
perl -e 'printf "%.15g %.15g %.15g %s\n", atan2(1, 1) * 4, exp(1), sin(1e5), 2 ** 70; print 0.1 + 0.2, " ", 1e21, " ", 10 / 3, " ", int(-7 / 2), "\n"'
perl -ne 'if (/(\d+) line (\d+)/ && $2 % 97 == 0) { $s += $1; $n++ } END { print "$n $s\n" }' "$seq_file"
perl -e 'my $t = "the quick brown fox " x 500; (my $u = $t) =~ s/(\w+)/ucfirst $1/ge; print length($u), " ", ($u =~ tr/A-Z//), " ", unpack("%32C*", $u), "\n"; print join(" ", sort { $b cmp $a } split //, "emulator"), "\n"'

echo "== awk"
gawk '{ s += $3; if ($3 > m) m = $3; c[$3 % 5]++ } END { print s, m, s / NR; for (i = 0; i < 5; i++) print i, c[i] }' "$seq_file"
gawk 'BEGIN { for (i = 1; i <= 5; i++) printf "%.10f %.10f %d\n", sin(i), log(i), int(exp(i)); print substr("processor", 3, 4), toupper("abc"), index("haystack", "st"), length("ßab") }'

echo "== gzip"
gzip -9 -n -c "$seq_file" >"$seq_file.gz"; wc -c <"$seq_file.gz"; gzip -t "$seq_file.gz" && gzip -dc "$seq_file.gz" | openssl dgst -sha256 -r
gzip -1 -n -c "$seq_file" | openssl dgst -md5 -r

echo "== openssl"
for digest in md5 sha1 sha256 sha384 sha512 sha3-512 blake2s256; do openssl dgst "-$digest" -r <"$seq_file"; done
key=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f; iv=0f0e0d0c0b0a09080706050403020100
for cipher in aes-128-cbc aes-256-cbc aes-256-ctr chacha20 camellia-256-cbc aria-128-cbc; do
  length=64; case $cipher in *128*) length=32 ;; esac
  openssl enc "-$cipher" -K "${key:0:$length}" -iv "$iv" <"$seq_file" | openssl dgst -sha256 -r
done
openssl enc -aes-256-cbc -pbkdf2 -iter 2000 -S 0102030405060708 -pass pass:secret <"$seq_file" | openssl dgst -sha256 -r
openssl enc -base64 <"$seq_file" | openssl dgst -md5 -r
openssl prime -hex FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A63A3620FFFFFFFFFFFFFFFF | head -c 100; echo
rm -f "$seq_file" "$seq_file.gz"
