# Claims that are checked, counted and printed. Sourced by the other scripts.

checks_passed=0
checks_failed=0
if [ -t 1 ]; then bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'; else bold='' green='' red='' plain=''; fi

# section TITLE: a heading.
section() { printf '\n%s== %s%s\n' "$bold" "$1" "$plain"; }

pass() { checks_passed=$((checks_passed + 1)); printf '  %sok%s    %s\n' "$green" "$plain" "$1"; }
fail() { checks_failed=$((checks_failed + 1)); printf '  %sFAIL%s  %s\n' "$red" "$plain" "$1"; }

# check CLAIM COMMAND...: the claim holds if the command succeeds. What a failing command printed is shown.
check() {
    local claim=$1 output
    shift
    if output=$("$@" 2>&1); then
        pass "$claim"
    else
        fail "$claim"
        [ -z "$output" ] || printf '%s\n' "$output" | head -n 12 | sed 's/^/          /'
    fi
}

# check_within SECONDS CLAIM COMMAND...: the same, but the claim may take that long to become true.
check_within() {
    local seconds=$1 claim=$2
    shift 2
    if wait_for "$seconds" "$@"; then pass "$claim"; else check "$claim (within $seconds s)" "$@"; fi
}

# equal WHAT ACTUAL EXPECTED
equal() { [ "$2" = "$3" ] || { echo "$1: got \"$2\", expected \"$3\""; return 1; }; }

# not COMMAND...: it fails
not() { ! "$@"; }
