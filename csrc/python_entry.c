/* entry.h for Python. By hand and not by cffi: a page calls this a thousand times for half a
 * microsecond each, and must not offer the interpreter to other threads each time. */
#define Py_LIMITED_API 0x030b0000
#include <Python.h>

#include "entry.h"

static bool span_of(PyObject *object, span *into)
{
    char *data;
    Py_ssize_t bytes;
    if (PyBytes_AsStringAndSize(object, &data, &bytes) < 0)
        return false;
    *into = (span){(const uint8_t *)data, (size_t)bytes};
    return true;
}

static PyObject *entry(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    span stored, key, value, owner;
    uint8_t out[ENTRY_BYTES_MAX];
    if (count != 5) {
        PyErr_SetString(PyExc_TypeError, "entry(stored, key, value, owner, url)");
        return NULL;
    }
    if (!span_of(arguments[0], &stored) || !span_of(arguments[1], &key) ||
        !span_of(arguments[2], &value) || !span_of(arguments[3], &owner))
        return NULL;
    int url = PyObject_IsTrue(arguments[4]);
    if (url < 0)
        return NULL;
    int bytes = entry_write(stored, key, value, owner, url, out);
    if (bytes == ENTRY_UNREADABLE)
        Py_RETURN_NONE;
    return PyBytes_FromStringAndSize((const char *)out, bytes);
}

static PyMethodDef methods[] = {
    {"entry", (PyCFunction)(void (*)(void))entry, METH_FASTCALL, "See csrc/entry.h."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_entry", NULL, 0, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__entry(void)
{
    return PyModule_Create(&definition);
}
