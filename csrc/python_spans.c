/* Where buffers lie, for what is handed to C. By hand and not by cffi, which needs more than a
 * microsecond for each: an answer has ten, and the loop has better things to do. */
#define Py_LIMITED_API 0x030b0000
#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

typedef struct { /* as struct iovec */
    const void *base;
    size_t length;
} span;

static bool span_of(PyObject *piece, span *into)
{
    Py_buffer view;
    if (!piece || PyObject_GetBuffer(piece, &view, PyBUF_SIMPLE) < 0)
        return false;
    *into = (span){view.buf, (size_t)view.len};
    PyBuffer_Release(&view); /* what it is a view of lives as long as the piece */
    return true;
}

static PyObject *spans(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    Py_buffer room;
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "spans(pieces, room)");
        return NULL;
    }
    Py_ssize_t pieces = PyTuple_Size(arguments[0]);
    if (pieces < 0 || PyObject_GetBuffer(arguments[1], &room, PyBUF_WRITABLE) < 0)
        return NULL;
    bool fits = pieces <= room.len / (Py_ssize_t)sizeof(span), all = fits;
    for (Py_ssize_t i = 0; all && i < pieces; i++)
        all = span_of(PyTuple_GetItem(arguments[0], i), (span *)room.buf + i);
    PyBuffer_Release(&room);
    if (!fits)
        PyErr_SetString(PyExc_ValueError, "more pieces than there is room for");
    return all ? PyLong_FromSsize_t(pieces) : NULL;
}

static PyMethodDef methods[] = {
    {"spans", (PyCFunction)(void (*)(void))spans, METH_FASTCALL,
     "Write address and length of each of a tuple of buffers to `room`; how many they are."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_spans", NULL, 0, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__spans(void)
{
    return PyModule_Create(&definition);
}
