# The programs that the labs run. Sourced by the other scripts.

# build_programs [EXAMPLE...]: builds them optimised and sets $programs to their folder; the examples named are built
# too, into $programs/examples. IPSEC_GATEWAY_PROGRAMS names a folder that already holds all of them: then nothing is
# built.
build_programs() {
    if [ -n "${IPSEC_GATEWAY_PROGRAMS:-}" ]; then
        programs=$(cd "$IPSEC_GATEWAY_PROGRAMS" && pwd)
        return
    fi
    (cd "$here/.." && cargo build --release --bins "${@/#/--example=}" --quiet) || return 1
    programs=$(cd "${CARGO_TARGET_DIR:-$here/../target}/release" && pwd)
}
