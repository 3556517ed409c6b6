"""Repository rules over libraries installed on the machine (apt, pip)."""

_VIS = 'package(default_visibility = ["//visibility:public"])\n'

# name: (pkg-config name or None, header to look for, fallback -l flags)
_LIBS = {
    "gflags": ("gflags", "gflags/gflags.h", ["-lgflags"]),
    "glog": ("libglog", "glog/logging.h", ["-lglog"]),
    "yaml_cpp": ("yaml-cpp", "yaml-cpp/yaml.h", ["-lyaml-cpp"]),
    "nlohmann_json": (None, "nlohmann/json.hpp", []),
    "sndfile": ("sndfile", "sndfile.h", ["-lsndfile"]),
    "kissfft": (None, "kissfft/kiss_fftr.h", ["-lkissfft-float"]),
    "zlib": ("zlib", "zlib.h", ["-lz"]),
}

# Needed by some programs only: where one is missing, what depends on it does not build.
_OPTIONAL_LIBS = {
    "crypto": ("libcrypto", "openssl/evp.h", ["-lcrypto"]),
    "jpeg": ("libjpeg", "jpeglib.h", ["-ljpeg"]),
    "lmdb": ("lmdb", "lmdb.h", ["-llmdb"]),
    "opencv": (None, "opencv4/opencv2/imgcodecs.hpp", ["-lopencv_imgcodecs", "-lopencv_core"]),
    "zmq": ("libzmq", "zmq.h", ["-lzmq"]),
    "zstd": ("libzstd", "zstd.h", ["-lzstd"]),
}

_APT = "scripts/setup installs them all"

# Open MPI keeps its headers in a folder of its own.
_MPI_INCLUDE = "/usr/lib/x86_64-linux-gnu/openmpi/include"

def _pkg_config(rctx, pkg, what):
    r = rctx.execute(["pkg-config", what, pkg])
    return [w for w in r.stdout.strip().split(" ") if w] if r.return_code == 0 else None

_INCLUDE = ["/usr/include", "/usr/include/x86_64-linux-gnu", "/usr/local/include"]

def _header_folder(rctx, header):
    found = [d for d in _INCLUDE if rctx.path(d + "/" + header).exists]
    return found[0] if found else None

def _optional_lib(rctx, name):
    pkg, header, libs = _OPTIONAL_LIBS[name]
    folder = _header_folder(rctx, header)
    if not folder:
        why = "%s: %s is not installed; %s" % (name, header, _APT)
        return """genrule(name = "{0}_missing", outs = ["{0}_missing.h"], cmd = "echo '{1}' >&2; exit 1")
cc_library(name = "{0}", hdrs = [":{0}_missing.h"])
""".format(name, why)
    flags = (_pkg_config(rctx, pkg, "--libs") if pkg else None) or libs
    if pkg or "/" not in header:
        return 'cc_library(name = "{}", linkopts = {})\n'.format(name, repr(flags))

    # Its headers name each other from a folder that compilers do not search.
    rctx.symlink(folder + "/" + header.split("/")[0], name)
    return 'cc_library(name = "{0}", hdrs = glob(["{0}/**"]), includes = ["{0}"], linkopts = {1})\n'.format(name, repr(flags))

def _system_libs_impl(rctx):
    build = _VIS
    missing = []
    for name, (pkg, header, libs) in _LIBS.items():
        if not _header_folder(rctx, header):
            missing.append(name)
        flags = (_pkg_config(rctx, pkg, "--libs") if pkg else None) or libs
        build += 'cc_library(name = "{}", linkopts = {})\n'.format(name, repr(flags))
    if missing:
        fail("missing system libraries: %s\n  %s" % (", ".join(missing), _APT))
    for name in _OPTIONAL_LIBS:
        build += _optional_lib(rctx, name)
    mpi = rctx.path(_MPI_INCLUDE + "/mpi.h").exists
    rctx.file("defs.bzl", "MPI_FOUND = %s\n" % mpi)
    if mpi:
        rctx.symlink(_MPI_INCLUDE, "mpi")
        build += 'cc_library(name = "mpi", hdrs = glob(["mpi/mpi*.h"]), includes = ["mpi"], defines = ["OMPI_SKIP_MPICXX"], linkopts = %s)\n' % repr(_pkg_config(rctx, "ompi-c", "--libs") or ["-lmpi"])
    else:
        build += 'cc_library(name = "mpi")\n'

    # Catch2: v3 (bookworm-backports libcatch2-dev) if there, else v2 (catch2)
    pre = rctx.os.environ.get("CATCH2_PREFIX", "/usr")
    rctx.symlink(pre + "/include/catch2", "catch2/include/catch2")
    if rctx.path(pre + "/include/catch2/catch_all.hpp").exists:
        lib = pre + "/lib/x86_64-linux-gnu"
        if not rctx.path(lib + "/libCatch2.a").exists:
            lib = pre + "/lib"
        rctx.symlink(lib + "/libCatch2.a", "catch2/libCatch2.a")
        rctx.symlink(lib + "/libCatch2Main.a", "catch2/libCatch2Main.a")
        build += '''cc_import(name = "catch2_a", static_library = "catch2/libCatch2.a")
cc_import(name = "catch2_main_a", static_library = "catch2/libCatch2Main.a", alwayslink = True)
cc_library(name = "catch2_main", hdrs = glob(["catch2/include/**/*.hpp"]), includes = ["catch2/include"],
    defines = ["MARIANA_CATCH3"], deps = [":catch2_main_a", ":catch2_a"])
'''
    else:
        rctx.file("catch2/main.cc", "#define CATCH_CONFIG_MAIN\n#include <catch2/catch.hpp>\n")
        build += '''cc_library(name = "catch2_main", srcs = ["catch2/main.cc"], copts = ["-O0", "-g0", "-U_FORTIFY_SOURCE", "-fno-sanitize=all"], hdrs = glob(["catch2/include/**/*.hpp"]),
    includes = ["catch2/include"], alwayslink = True)
'''
    rctx.file("BUILD", build)

system_libs = repository_rule(
    implementation = _system_libs_impl,
    local = True,
    environ = ["CATCH2_PREFIX", "PATH"],
)

def _onednn_configure_impl(rctx):
    root = rctx.os.environ.get("ONEDNN_ROOT", "")
    if root:
        rctx.symlink(root + "/include", "include")
        rctx.symlink(root + "/lib/libdnnl.so.3", "lib/libdnnl.so.3")
        rctx.file("BUILD", _VIS + '''
cc_import(name = "so", shared_library = "lib/libdnnl.so.3")
cc_library(name = "onednn", hdrs = glob(["include/**"]), includes = ["include"], deps = [":so"])
''')
    else:
        rctx.file("BUILD", _VIS + 'cc_library(name = "onednn", linkopts = ["-ldnnl"])\n')

onednn_configure = repository_rule(implementation = _onednn_configure_impl, local = True, environ = ["ONEDNN_ROOT"])

_CUDA_TARGETS = ["headers", "cudart", "cublaslt", "cudnn"]

# Where the toolkit is: $CUDA_HOME, /usr/local/cuda, or the wheels that scripts/setup --cuda puts
# into .venv; None where there is none.
def _cuda_home(rctx):
    homes = [rctx.os.environ.get("CUDA_HOME", "/usr/local/cuda")]
    venv = rctx.path(Label("//:WORKSPACE")).dirname.get_child(".venv").get_child("lib")
    if venv.exists:
        homes += [str(p) + "/site-packages/nvidia/cu13" for p in venv.readdir()]
    found = [h for h in homes if rctx.path(h + "/bin/nvcc").exists]
    if rctx.os.environ.get("MARIANA_NO_CUDA", "") == "1" or not found:
        return None
    return found[0]

# The first of the folders that has the file.
def _first_with(rctx, folders, name):
    for folder in folders:
        if rctx.path(folder + "/" + name).exists:
            return folder
    return None

def _cuda_configure_impl(rctx):
    home = _cuda_home(rctx)
    folders = [home + "/lib64", home + "/lib", home + "/../cudnn/lib"] if home else []
    files = [("libcudart_static.a", "cudart"), ("libcublasLt.so.13", "cublaslt"), ("libcudnn.so.9", "cudnn")]
    complete = home and all([_first_with(rctx, folders, so) for so, _ in files])
    headers = _first_with(rctx, [home + "/include", home + "/../cudnn/include"], "cudnn.h") if home else None
    if not complete or not headers:
        rctx.file("defs.bzl", "CUDA_FOUND = False\n")
        rctx.file("nvcc.sh", "#!/bin/sh\necho 'no CUDA toolkit with cuBLASLt and cuDNN: scripts/setup --cuda, or set CUDA_HOME' >&2; exit 1\n")
        rctx.file("BUILD", _VIS + 'sh_binary(name = "nvcc", srcs = ["nvcc.sh"])\n' +
                           "".join(['cc_library(name = "%s")\n' % t for t in _CUDA_TARGETS]))
        return
    rctx.symlink(home + "/include", "include")
    includes = ["include"]
    if headers != home + "/include":
        rctx.symlink(headers, "cudnn_include")
        includes.append("cudnn_include")
    static = files[0][0]
    rctx.symlink(_first_with(rctx, folders, static) + "/" + static, static)
    rctx.file("nvcc.sh", "#!/bin/sh\nexec %s/bin/nvcc \"$@\"\n" % home)
    rctx.file("defs.bzl", "CUDA_FOUND = True\n")
    build = _VIS + '''
sh_binary(name = "nvcc", srcs = ["nvcc.sh"])
cc_library(name = "headers", hdrs = glob({globs}), includes = {includes})
cc_library(name = "cudart", srcs = ["libcudart_static.a"], linkopts = ["-ldl", "-lrt", "-lpthread"], deps = [":headers"])
'''.format(globs = [i + "/**" for i in includes], includes = includes)

    # Where they lie, not through a link: cuDNN looks for its parts beside itself.
    for so, name in files[1:]:
        folder = _first_with(rctx, folders, so)
        linkopts = ["-L" + folder, "-l:" + so, "-Wl,-rpath," + folder]
        build += 'cc_library(name = "%s", linkopts = %s, deps = [":headers"])\n' % (name, linkopts)
    rctx.file("BUILD", build)

cuda_configure = repository_rule(implementation = _cuda_configure_impl, local = True, environ = ["CUDA_HOME", "MARIANA_NO_CUDA"])
