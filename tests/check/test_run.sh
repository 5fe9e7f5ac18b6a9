#!/bin/bash
# Checks that tests/run can fail: each case is a tiny suite in a folder of its own and the closing
# line and the exit status that it must lead to. Run by tests/run like any other check.
set -u

here=$(cd "$(dirname "$0")" && pwd)
runner=$here/../run
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
count=0
failed=0

point() { # NAME STATUS
	count=$((count + 1))
	if [ "$2" -eq 0 ]; then
		echo "ok $count - $1"
	else
		echo "not ok $count - $1"
		failed=1
		sed 's/^/# /' "$tmp/output"
	fi
}

# NAME EXIT-STATUS CLOSING-LINE [OPTION]...; the program is read from standard input
expect() {
	local name=$1 status=$2 closing=$3 got
	shift 3
	rm -rf "$tmp/tests"
	mkdir -p "$tmp/tests/check"
	cat >"$tmp/tests/check/test_it.sh"
	chmod +x "$tmp/tests/check/test_it.sh"
	"$runner" --tests "$tmp/tests" --build "$tmp/build" "$@" >"$tmp/output" 2>&1
	got=$?
	[ "$got" -eq "$status" ] && [ "$(tail -n 1 "$tmp/output")" = "$closing" ]
	point "$name" $?
}

# TEXT: the last run printed it
said() {
	grep -qF -- "$1" "$tmp/output"
	point "… and says: $1" $?
}

expect "all well" 0 "2 passed, 0 failed, 0 skipped" <<'E'
#!/bin/sh
printf '1..2\nok 1 - a\nok 2 - b\n'
E
said "[1/1] check/test_it … ok (2 tests"

expect "plan at the end, other output between" 0 "1 passed, 0 failed, 0 skipped" <<'E'
#!/bin/sh
printf 'hello\nok then\n# ok 7 - a comment\nok 1\n1..1\n'
E

expect "several plans add up" 0 "3 passed, 0 failed, 0 skipped" <<'E'
#!/bin/sh
printf '1..2\nok 1 - a\nok 2 - b\n1..1\nok 1 - c\n'
E

expect "not ok" 1 "1 passed, 1 failed, 0 skipped" <<'E'
#!/bin/sh
printf '1..2\nok 1 - a\nnot ok 2 - b\n# because of the moon\n'
E
said "because of the moon"

expect "not ok with exit status" 1 "0 passed, 1 failed, 0 skipped" <<'E'
#!/bin/sh
printf '1..1\nnot ok 1 - a\n'
exit 1
E

expect "crash" 1 "1 passed, 2 failed, 0 skipped" <<'E'
#!/bin/sh
printf '1..2\nok 1 - a\n'
kill -SEGV $$
E
said "killed by SIGSEGV"
said "printed 1 points, planned 2"

expect "crash behind the last point" 1 "1 passed, 1 failed, 0 skipped" <<'E'
#!/bin/sh
printf '1..1\nok 1 - a\n'
kill -ABRT $$
E

expect "exit status without a failed point, as from a leak checker" 1 "1 passed, 1 failed, 0 skipped" <<'E'
#!/bin/sh
printf '1..1\nok 1 - a\n'
exit 23
E
said "exit status 23"

expect "short plan" 1 "1 passed, 1 failed, 0 skipped" <<'E'
#!/bin/sh
printf '1..3\nok 1 - a\n'
E

expect "more points than planned" 1 "2 passed, 1 failed, 0 skipped" <<'E'
#!/bin/sh
printf '1..1\nok 1 - a\nok 2 - b\n'
E

expect "no plan" 1 "1 passed, 1 failed, 0 skipped" <<'E'
#!/bin/sh
echo 'ok 1 - a'
E
said "printed no plan"

expect "silence" 1 "0 passed, 1 failed, 0 skipped" <<'E'
#!/bin/sh
E

expect "bail out" 1 "1 passed, 1 failed, 0 skipped" <<'E'
#!/bin/sh
printf '1..1\nok 1 - a\nBail out! no kernel\n'
E

expect "time limit" 1 "1 passed, 1 failed, 0 skipped" --timeout 0.2 <<'E'
#!/bin/sh
printf '1..2\nok 1 - a\n'
exec tail -f /dev/null
E
said "ran out of time"

expect "a grandchild that keeps the output open holds nobody up" 0 "1 passed, 0 failed, 0 skipped" --timeout 20 <<'E'
#!/bin/sh
tail -f /dev/null &
printf '1..1\nok 1 - a\n'
E

expect "skip with a reason" 0 "1 passed, 0 failed, 1 skipped" <<'E'
#!/bin/sh
printf '1..2\nok 1 - a\nok 2 - b # SKIP no MPTCP here\n'
E
said "skipped: check/test_it: b (no MPTCP here)"

expect "skip as cmocka prints it" 0 "1 passed, 0 failed, 1 skipped" <<'E'
#!/bin/sh
printf '1..2\nok 1 - a\nnot ok 2 # SKIP b\n'
E

expect "a failure does not become a skip" 1 "1 passed, 1 failed, 0 skipped" <<'E'
#!/bin/sh
printf '1..2\nok 1 - a\nnot ok 2 - b # SKIP nice try\n'
E

expect "skip may be forbidden" 1 "1 passed, 1 failed, 0 skipped" --require-no-skip <<'E'
#!/bin/sh
printf '1..2\nok 1 - a\nok 2 - b # SKIP no MPTCP here\n'
E
said "no MPTCP here"

expect "only skips is not a success" 1 "0 passed, 0 failed, 1 skipped" <<'E'
#!/bin/sh
echo 'needs root'
exit 77
E
said "skipped: check/test_it: everything (needs root)"

expect "an empty plan with a reason" 1 "0 passed, 0 failed, 1 skipped" <<'E'
#!/bin/sh
echo '1..0 # SKIP needs a kernel'
E

expect "77 does not hide a failure" 1 "0 passed, 1 failed, 0 skipped" <<'E'
#!/bin/sh
printf '1..1\nnot ok 1 - a\n'
exit 77
E

expect "cannot be started" 1 "0 passed, 1 failed, 0 skipped" <<'E'
#!/nonexistent/interpreter
E

mkdir -p "$tmp/tests/unit" "$tmp/empty"
rm -rf "$tmp/tests/check"
touch "$tmp/tests/unit/test_never_built.c"
"$runner" --tests "$tmp/tests" --build "$tmp/build" unit >"$tmp/output" 2>&1
[ $? -eq 1 ] && [ "$(tail -n 1 "$tmp/output")" = "0 passed, 1 failed, 0 skipped" ]
point "a unit test that was not built" $?

"$runner" --tests "$tmp/empty" >"$tmp/output" 2>&1
[ $? -eq 1 ] && [ "$(tail -n 1 "$tmp/output")" = "0 passed, 0 failed, 0 skipped" ]
point "nothing to run" $?

mkdir -p "$tmp/request/check" "$tmp/request/kube"
printf '#!/bin/sh\nprintf "1..1\\nok 1 - a\\n"\n' >"$tmp/request/check/test_it.sh"
chmod +x "$tmp/request/check/test_it.sh"
printf 'print("1..1\\nnot ok 1 - a")\n' >"$tmp/request/kube/test_it.py"
"$runner" --tests "$tmp/request" >"$tmp/output" 2>&1 &&
	[ "$(tail -n 1 "$tmp/output")" = "1 passed, 0 failed, 0 skipped" ]
point "a suite on request is not among all" $?
"$runner" --tests "$tmp/request" kube >"$tmp/output" 2>&1
[ $? -eq 1 ] && [ "$(tail -n 1 "$tmp/output")" = "0 passed, 1 failed, 0 skipped" ]
point "a suite on request, asked for" $?

# each of two programs waits for the other
mkdir -p "$tmp/pair/check"
mkfifo "$tmp/pair/meet"
printf '#!/bin/sh\nprintf "1..1\\n"\ncat "%s"\n' "$tmp/pair/meet" >"$tmp/pair/check/test_a.sh"
printf '#!/bin/sh\necho "ok 1 - met" >"%s"\nprintf "1..1\\nok 1 - b\\n"\n' "$tmp/pair/meet" >"$tmp/pair/check/test_b.sh"
chmod +x "$tmp/pair/check"/*
"$runner" --tests "$tmp/pair" --timeout 60 --jobs 2 >"$tmp/output" 2>&1 &&
	[ "$(tail -n 1 "$tmp/output")" = "2 passed, 0 failed, 0 skipped" ]
point "two programs at a time" $?
"$runner" --tests "$tmp/pair" --timeout 0.2 >"$tmp/output" 2>&1
[ $? -eq 1 ] && grep -q 'check/test_a … FAILED' "$tmp/output"
point "one at a time, if nothing else is asked for" $?

# these fail when they meet
mkdir -p "$tmp/alone/kube"
for name in a b; do
	cat >"$tmp/alone/kube/test_$name.py" <<-E
		import os, subprocess
		os.mkdir("$tmp/alone/here")
		subprocess.run(["true"])
		os.rmdir("$tmp/alone/here")
		print("1..1\nok 1 - $name")
	E
done
"$runner" --tests "$tmp/alone" --jobs 2 kube >"$tmp/output" 2>&1 &&
	[ "$(tail -n 1 "$tmp/output")" = "2 passed, 0 failed, 0 skipped" ]
point "a suite that has the machine to itself" $?

# a unit test that passes only by the way that another program runs it
mkdir -p "$tmp/under/tests/unit" "$tmp/under/build/other/tests/unit"
touch "$tmp/under/tests/unit/test_a.c"
cat >"$tmp/under/build/other/tests/unit/test_a" <<'E'
#!/bin/sh
printf "1..1\n$BY 1 - a\n"
E
cat >"$tmp/under/by" <<'E'
#!/bin/sh
BY=ok exec "$1"
E
chmod +x "$tmp/under/by" "$tmp/under/build/other/tests/unit/test_a"
"$runner" --tests "$tmp/under/tests" --build "$tmp/under/build" --unit-build other --unit-under "$tmp/under/by" unit \
	>"$tmp/output" 2>&1 && [ "$(tail -n 1 "$tmp/output")" = "1 passed, 0 failed, 0 skipped" ]
point "unit tests of another build, run by another program" $?
"$runner" --tests "$tmp/under/tests" --build "$tmp/under/build" unit >"$tmp/output" 2>&1
[ $? -eq 1 ] && grep -q 'cannot be started' "$tmp/output"
point "… and not of another, if nothing else is asked for" $?

"$runner" --tests "$tmp/empty" nonsense >"$tmp/output" 2>&1
[ $? -eq 1 ] && grep -q nonsense "$tmp/output"
point "an unknown suite" $?

echo "1..$count"
exit $failed
