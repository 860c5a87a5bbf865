"""Compiles the CUDA kernels by NVRTC for several GPUs, without one: prints errors, registers and spills.

    python scripts/native/check-kernels.py [sm_90 ...]

Run it with a Python that has nvidia-cuda-nvrtc, as pip's torch for CUDA brings it.
"""

import ctypes
import importlib.util
import pathlib
import re
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCES = ROOT / "src" / "engines" / "torch" / "native" / "cuda"
# As in cuda/module.cpp.
OPTIONS = ["--std=c++17"]


def load_nvrtc():
    for folder in importlib.util.find_spec("nvidia").submodule_search_locations:
        for builtins in pathlib.Path(folder).glob("*/lib/libnvrtc-builtins.so.*"):
            # NVRTC looks for it by its name alone.
            ctypes.CDLL(str(builtins), ctypes.RTLD_GLOBAL)
            [library] = builtins.parent.glob("libnvrtc.so.[0-9]*")
            return ctypes.CDLL(str(library))
    sys.exit("no libnvrtc: pip install nvidia-cuda-nvrtc")


def strings(values):
    return (ctypes.c_char_p * len(values))(*[value.encode() for value in values])


def compile_kernel(nvrtc, source, headers, arch):
    """Returns the image, empty where it did not compile, and the log."""
    program = ctypes.c_void_p()
    names, texts = strings(list(headers)), strings(list(headers.values()))
    created = nvrtc.nvrtcCreateProgram(
        ctypes.byref(program), source.read_bytes(), source.name.encode(), len(headers), texts, names
    )
    assert created == 0, f"nvrtcCreateProgram gave {created}"
    options = [*OPTIONS, f"--gpu-architecture={arch}", "--ptxas-options=-v"]
    result = nvrtc.nvrtcCompileProgram(program, len(options), strings(options))
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    image = ctypes.create_string_buffer(0)
    if result == 0:
        nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size))
        image = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetCUBIN(program, image)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return image.raw, log.value.decode()


def unnamed(image, log):
    """Kernels that module.cpp would not find in the image: it looks for the sections that they lie in."""
    kernels = re.findall(r"Compiling entry function '(\w+)'", log)
    return [kernel for kernel in kernels if f".text.{kernel}\0".encode() not in image]


def describe(log):
    """One line a kernel, from what ptxas says of it."""
    for entry in log.split("Compiling entry function ")[1:]:
        [name] = re.findall(r"^'(\w+)'", entry)
        [registers] = re.findall(r"Used (\d+) registers", entry)
        # Of the kernel and of what it calls.
        spilled = sum(map(int, re.findall(r"(\d+) bytes spill stores", entry)))
        shared = re.findall(r"(\d+) bytes smem", entry)
        yield f"  {name}: {registers} registers, {spilled} bytes spilled, {shared[0] if shared else 0} bytes shared"


def main():
    nvrtc = load_nvrtc()
    headers = {path.name: path.read_text() for path in [SOURCES / "layout.h", *SOURCES.glob("kernels/*.*h")]}
    failed = False
    for arch in sys.argv[1:] or ["sm_75", "sm_80", "sm_90"]:
        for source in sorted(SOURCES.glob("kernels/*.cu")):
            start = time.monotonic()
            image, log = compile_kernel(nvrtc, source, headers, arch)
            print(f"{source.name} {arch}:", f"{time.monotonic() - start:.1f} s" if image else "failed")
            print("\n".join(describe(log)) if image and "warning" not in log else log)
            lost = unnamed(image, log)
            if lost:
                print(f"without a section: {', '.join(lost)}")
            failed |= not image or bool(lost)
    sys.exit(failed)


main()
