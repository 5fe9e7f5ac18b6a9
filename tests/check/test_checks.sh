#!/bin/bash
# Checks that the checks can fail: builds small trees with one fault each and expects the right
# complaint about it. Run by tests/run like any other check.
set -u

here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
tree=$tmp/tree
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

# a tree in which every check is content
good_tree() {
	rm -rf "$tree"
	mkdir -p "$tree"/user/{base,policy,datapath,cli} "$tree"/include/imdsgate "$tree"/tests/check "$tree"/deploy
	cp "$here/../../.clang-format" "$tree/"
	printf '%s\n' 'base:' 'policy: base' 'datapath: base' '?metrics: base' \
		'cli: base policy/a.h' >"$tree/tests/check/deps.txt"
	printf '#pragma once\n\nint ig_base(void);\n' >"$tree/user/base/b.h"
	printf '#pragma once\n\n#include "base/b.h"\n' >"$tree/user/policy/a.h"
	printf '#pragma once\n' >"$tree/include/imdsgate/limits.h"
	printf '#include <bpf/bpf.h>\n\n#include "redirect.skel.h"\n' >"$tree/user/datapath/d.c"
	printf '#include <imdsgate/limits.h>\n\n#include "policy/a.h"\n' >"$tree/user/cli/main.c"
	printf '#!/bin/sh\necho hello\n' >"$tree/deploy/hello.sh"
	chmod +x "$tree/deploy/hello.sh"
}

# NAME CHECK TEXT: the check fails and says the text; the empty text: it is content
expect() {
	local status
	"$here/$2" --root "$tree" >"$tmp/output" 2>&1
	status=$?
	if [ -z "$3" ]; then
		[ $status -eq 0 ] && ! grep -q '^not ok' "$tmp/output"
	else
		[ $status -eq 1 ] && grep -q '^not ok' "$tmp/output" && grep -qF -- "$3" "$tmp/output"
	fi
	point "$2: $1" $?
}

# NAME CHECK TEXT FILE LINE: the same after adding the line to the file
with() {
	good_tree
	printf '%s\n' "$5" >>"$tree/$4"
	expect "$1" "$2" "$3"
}

for check in arrows forbidden headers format scripts; do
	good_tree
	expect "content with a good tree" "$check" ""
done

with "forbidden include" arrows 'user/base/b.h:4: base may not include policy/a.h' user/base/b.h '#include "policy/a.h"'
with "other header of a module of which one is allowed" arrows 'cli may not include policy/z.h' user/cli/main.c '#include "policy/z.h"'
with "libbpf outside datapath" arrows 'bpf/libbpf.h is for datapath only' user/policy/a.h '#  include <bpf/libbpf.h>'
with "skeleton outside datapath" arrows 'redirect.skel.h is for datapath only' user/cli/main.c '#include "redirect.skel.h"'
with "way round the rule" arrows 'is not written as "module/header.h"' user/base/b.h '#include "../policy/a.h"'
with "shared include through a macro" arrows 'is not written as "module/header.h"' user/base/b.h '#include HEADER'
with "commented include is none" arrows '' user/base/b.h '/* #include "policy/a.h" */'
with "row without a module" arrows 'the row of token has no module' tests/check/deps.txt 'token: base'
with "unknown module in a row" arrows 'names nobody, which has no row' tests/check/deps.txt '?metrics2: nobody'
with "two rows" arrows 'a second row for base' tests/check/deps.txt 'base: cli'
with "no row at all" arrows 'not a row' tests/check/deps.txt 'nonsense'

good_tree
mkdir "$tree/user/stray"
touch "$tree/user/stray/s.c"
expect "module without a row" arrows 'user/stray has no row'

good_tree
printf '#include "base/b.h"\n' >"$tree/user/cli/main.c"
expect "stale exception" arrows 'nobody in cli includes policy/a.h any more'

good_tree
sed -i 's/^base:.*/base: cli/' "$tree/tests/check/deps.txt"
expect "circle" arrows 'base -> cli -> base'

good_tree
rm "$tree/tests/check/deps.txt"
! "$here/arrows" --root "$tree" >"$tmp/output" 2>&1 && ! grep -q '^1\.\.' "$tmp/output"
point "arrows: no deps.txt" $?

with "strcpy" forbidden 'user/cli/main.c:4: strcpy' user/cli/main.c 'static void f(char *a) { strcpy (a, ""); }'
with "sprintf" forbidden 'user/base/b.h:4: sprintf' user/base/b.h 'static void f(char *a) { sprintf(a, "x"); }'
with "snprintf is fine" forbidden '' user/cli/main.c 'static void f(char *a) { snprintf(a, 1, "x"); }'
with "atoi" forbidden 'main.c:4: atoi' user/cli/main.c 'int x = atoi("1");'
with "strtoul outside base" forbidden 'main.c:4: strtoul' user/cli/main.c 'int x = strtoul("1", 0, 0);'
with "strtoul in base" forbidden '' user/base/b.h '#define X strtoul("1", 0, 0)'
with "exit outside main.c" forbidden 'a.h:4: exit' user/policy/a.h '#define DIE() exit(1)'
with "exit in main.c" forbidden '' user/cli/main.c '#define DIE() exit(1)'
with "json_loadb outside base" forbidden 'main.c:4: json_loadb' user/cli/main.c 'void f(void) { json_loadb("", 0, 0, 0); }'
with "json_dumps outside base" forbidden 'a.h:4: json_dumps' user/policy/a.h '#define X json_dumps(0, 0)'
with "uthash outside base" forbidden 'main.c:4: #include <uthash.h>' user/cli/main.c '#include <uthash.h>'
with "a table entry that may be lost" forbidden 'main.c:4: HASH_ADD' user/cli/main.c 'void f(void) { HASH_ADD(hh, t, k, 1, e); g(e); }'
with "a table entry that is looked after" forbidden '' user/cli/main.c 'void f(void) { HASH_ADD(hh, t, k, 1, e); if (!ig_table_has(e)) free(e); }'
with "_exit and atexit are fine" forbidden '' user/policy/a.h '#define DIE() (atexit(f), _exit(1))'
with "abort" forbidden 'a.h:4: abort' user/policy/a.h '#define DIE() abort()'
with "bpf_printk" forbidden 'd.c:4: bpf_printk' user/datapath/d.c '#define P() bpf_printk("x")'
with "alloca" forbidden 'd.c:4: alloca' user/datapath/d.c '#define P() alloca(4)'
with "names in comments and text are fine" forbidden '' user/cli/main.c '/* strcpy() */ const char *s = "exit(1) /* \" abort()"; // atoi("1")'
with "code behind a quote that is a character" forbidden 'a.h:4: abort' user/policy/a.h "int c = '\"'; void f(void) { abort(); } char d = '\"';"
note=FIX
with "note to self" forbidden 'deploy/hello.sh:3' deploy/hello.sh "# ${note}ME later"
with "template of mktemp is no note" forbidden '' deploy/hello.sh 'mktemp -d /tmp/a.XXXXXX'

with "needs another header" headers 'user/policy/a.h: does not compile alone' user/policy/a.h 'size_t ig_policy(void);'
with "does not compile" headers 'include/imdsgate/limits.h: does not compile alone' include/imdsgate/limits.h 'int'
good_tree
sed -i 1d "$tree/user/base/b.h"
expect "no #pragma once" headers 'user/base/b.h: no #pragma once'

with "bitten comment" format 'user/base/b.h' user/base/b.h $'/*\n * one\n *two\n */'
with "badly indented" format 'user/base/b.h' user/base/b.h 'static inline  int f( void ) { return 1 ; }'
with "shell syntax" scripts 'deploy/hello.sh' deploy/hello.sh 'if then'
with "unknown interpreter" scripts 'unknown interpreter' deploy/other '#!/usr/bin/perl'
with "python syntax" scripts 'line 2' deploy/other.py $'#!/usr/bin/python3\nimport'
with "another python" scripts 'another interpreter' deploy/other.py '#!/usr/bin/env python3'
good_tree
chmod -x "$tree/deploy/hello.sh"
expect "not executable" scripts 'is not executable'

# NAME TEXT SED: the real unit with one fault
unit() {
	good_tree
	mkdir -p "$tree/deploy/systemd"
	sed "$3" "$here/../../deploy/systemd/imdsgated.service" >"$tree/deploy/systemd/imdsgated.service"
	expect "$1" systemd_unit "$2"
}
unit "the real unit" '' ''
unit "a setting that systemd does not know" 'PrivateDancing' '/^UMask=/i PrivateDancing=yes'
unit "a unit that leaves more" 'exposure is' '/^CapabilityBoundingSet=/d'
unit "an exception without a reason" 'ProtectHome is neither set nor explained' 's/ProtectHome=//'
unit "what the agent cannot live with" 'openat2()' '/^UMask=/i RestrictSUIDSGID=yes'
good_tree
expect "no unit" systemd_unit 'deploy/systemd has none'

# NAME TEXT FILE SED: the real resources and examples with one fault
crds() {
	good_tree
	mkdir -p "$tree"/deploy/kubernetes "$tree"/docs "$tree"/tests/unit/data
	cp -r "$here/../../deploy/kubernetes/crds" "$tree/deploy/kubernetes/"
	cp "$here/../../include/imdsgate/limits.h" "$tree/include/imdsgate/"
	cp "$here/../../docs/policy.md" "$tree/docs/"
	cp "$here/../unit/data/examples.yaml" "$tree/tests/unit/data/"
	sed -i "$4" "$tree/$3"
	! cmp -s "$tree/$3" "$here/../../$3"
	point "crds: $1 is a change" $?
	expect "$1" crds "$2"
}

of_policy=deploy/kubernetes/crds/metadatapolicies.yaml
of_identity=deploy/kubernetes/crds/azureidentities.yaml
crds "other order" '' $of_policy '1s/^/# more\n/'
crds "unknown keyword" 'keyword uniqueItems is not known here' $of_policy '0,/maxItems: 256/s//uniqueItems: true/'
crds "pattern without an end" 'is not anchored' $of_policy '0,/?\$$/s//?/'
crds "default that is not valid" "default 'Enforced' is not valid" $of_policy 's/default: Enforce/&d/'
crds "limit of another length" 'allow.resources.items: maxLength is 1023' $of_policy '0,/maxLength: 1024/s//maxLength: 1023/'
crds "limit in the header alone" 'IG_POLICY_LIST_MAX is 255' include/imdsgate/limits.h 's/\(IG_POLICY_LIST_MAX[ \t]*\)256/\1255/'
crds "schema more lenient" 'MetadataPolicy: resource with a wildcard in it: is accepted' $of_policy 's/!-)+-~/!-~/'
crds "schema stricter" "MetadataPolicy: mode audit: 'Audit' is not one of" $of_policy '/- Audit/d'
crds "unknown fields dropped" 'spec.rate: drops unknown fields' $of_policy '/^ *rate:/,/perSecond/s/x-kubernetes-preserve-unknown-fields: true/maxProperties: 2/'
crds "null dropped" 'spec.namespaces: drops null' $of_policy '/^ *namespaces:/,/maxItems/{/nullable/d}'
crds "name" 'is not PLURAL.GROUP' $of_policy 's/metadatapolicies.imdsgate/metadatapolicy.imdsgate/'
crds "no approval" 'needs the annotation' $of_identity '/api-approved/d'
crds "old field gone" "('adResourceId', 'string')" $of_identity 's/adResourceID/adResourceId/'
crds "old field with conditions" 'pattern was not there' $of_identity 's/^\( *\)\(description: Tenant of\)/\1pattern: ^a$\n\1\2/'
crds "difference without a reason" 'belongs to rows in which the two differ' tests/unit/data/examples.yaml '0,/^why:/{/^why:/d}'
crds "document" "'Enforced' is not one of" docs/policy.md '0,/mode: Enforce/s//mode: Enforced/'

# NAME TEXT FILE SED: the real table and tests with one fault
failures() {
	good_tree
	mkdir -p "$tree"/docs
	cp "$here/../../docs/architecture.md" "$tree/docs/"
	cp -r "$here"/../{netns,unit,kube,stress} "$tree/tests/"
	sed -i "$4" "$tree/$3"
	expect "$1" failures "$2"
}

failures "every row has its tests" '' docs/architecture.md ''
failures "failure without a test" 'no test for: the moon falls' docs/architecture.md 's/^| event ring full/| the moon falls | wet |\n&/'
failures "failure that is gone" 'no such row in docs/architecture.md: event ring full' docs/architecture.md '/^| event ring full/d'
failures "table that is gone" 'none in docs/architecture.md' docs/architecture.md '/^## When something fails/d'
failures "test that is gone" 'has no test' tests/netns/test_fail_closed.py '/both are killed/d'
failures "test in a comment" 'has no test' tests/netns/test_fail_closed.py 's/^@suite.test("both are/# &/'

# NAME TEXT FILE SED: the real header and page with one fault
limits() {
	good_tree
	mkdir -p "$tree"/docs
	cp "$here/../../include/imdsgate/limits.h" "$tree/include/imdsgate/"
	cp "$here/../../docs/limits.md" "$tree/docs/"
	for folder in unit bpf netns; do
		cp -r "$here/../$folder" "$tree/tests/"
	done
	sed -i "$4" "$tree/$3"
	expect "$1" limits "$2"
}

limits "as they are" '' docs/limits.md ''
limits "new limit" 'IG_NEW_MAX is missing' include/imdsgate/limits.h '/IG_TOP_INTERVAL_SEC/a#define IG_NEW_MAX 5'
limits "limit gone" 'IG_FLOWS_MAX is no limit' include/imdsgate/limits.h '/define IG_FLOWS_MAX/d'
limits "other value" 'IG_FLOWS_WORKLOAD_MAX is 1025, not 1024' include/imdsgate/limits.h 's/\(IG_FLOWS_WORKLOAD_MAX[ \t]*\)1024/\11025/'
limits "expression" 'IG_EVENT_RING_BYTES is 2097152, not' include/imdsgate/limits.h 's/\(IG_EVENT_RING_BYTES[ \t]*\)(1024/\1(2048/'
limits "test gone" "has no 'who_is_over_goes_last'" tests/unit/test_http_share.c 's/who_is_over_goes_last/who_is_late/'
limits "no test" 'the row of IG_FLOWS_MAX needs six cells' docs/limits.md 's/no test: takes 64 workloads at their limit//'

echo "1..$count"
exit $failed
