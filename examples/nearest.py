"""The cosine of one query with three rows, through the C library and nothing but Python's own ctypes.

SPDX-License-Identifier: MIT OR Apache-2.0

  LD_LIBRARY_PATH=PREFIX/lib python3 nearest.py
"""

import ctypes
from ctypes import POINTER, byref, c_char, c_float, c_int32, c_size_t, c_uint64, c_void_p, sizeof

lib = ctypes.CDLL("libengram_um.so.0")
WHOLE = c_size_t(-1).value  # EUM_WHOLE_SIZE


class View(ctypes.Structure):  # eum_view, and so on: the fields of engram_um.h in their order
    _fields_ = [("buffer", c_void_p), ("offset", c_size_t), ("bytes", c_size_t)]


class CosineConfig(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("query", View), ("targets", View), ("scores", View), ("rows", c_uint64), ("dim", c_uint64),
                ("row_stride", c_size_t), ("executor", c_int32), ("reserved", c_int32), ("host_targets", c_void_p)]


class Error(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t), ("status", c_int32), ("cuda_code", c_int32), ("cuda_name", c_char * 64), ("sentence", c_char * 512)]


# Handles are pointers: without these, ctypes would take them for ints of 32 bits.
lib.eum_context_create.argtypes = [c_void_p, POINTER(c_void_p)]
lib.eum_context_default_stream.argtypes = [c_void_p, POINTER(c_void_p)]
lib.eum_buffer_create.argtypes = [c_void_p, c_size_t, c_void_p, POINTER(c_void_p)]
lib.eum_buffer_write.argtypes = lib.eum_buffer_read.argtypes = [View, c_void_p]
lib.eum_cosine.argtypes = [c_void_p, POINTER(CosineConfig), c_void_p]
lib.eum_buffer_destroy.argtypes = lib.eum_context_destroy.argtypes = [c_void_p]
lib.eum_last_error.argtypes = [POINTER(Error)]


def check(status):
    if status != 0:
        error = Error(struct_size=sizeof(Error))
        lib.eum_last_error(byref(error))
        raise RuntimeError(error.sentence.decode())


def made(function, *arguments):
    handle = c_void_p()
    check(function(*arguments, byref(handle)))
    return handle


query, rows, scores = (c_float * 4)(1, 1, 0, 0), (c_float * 12)(1, 0, 0, 0, 0, 1, 0, 0, 3, 1, 0, 0), (c_float * 3)()
context = made(lib.eum_context_create, None)  # the best this machine has
stream = made(lib.eum_context_default_stream, context)
views = [View(made(lib.eum_buffer_create, context, sizeof(array), None), 0, WHOLE) for array in (query, rows, scores)]
check(lib.eum_buffer_write(views[0], query))
check(lib.eum_buffer_write(views[1], rows))
check(lib.eum_cosine(stream, CosineConfig(sizeof(CosineConfig), *views, rows=3, dim=4), None))
check(lib.eum_buffer_read(views[2], scores))  # waits for the kernel, and for nothing else
print(" ".join(f"{score:.4f}" for score in scores))
for view in views:
    check(lib.eum_buffer_destroy(view.buffer))
check(lib.eum_context_destroy(context))
