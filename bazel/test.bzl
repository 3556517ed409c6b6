"""mariana_test: a Catch2 test of one source file, named like it."""

def mariana_test(name, deps = [], size = "small", **kwargs):
    native.cc_test(
        name = name,
        srcs = [name + ".cc"],
        # Catch2's headers cost more to optimise than the tests cost to run.
        copts = ["-O1"],
        size = size,
        deps = deps + ["@system//:catch2_main"],
        **kwargs
    )
