"""The ``triton`` engine: fused kernels for CUDA, the sibling of `numba`.

Read in this order::

    engine        the interface: recorded steps, validation
    passes        the kernels of a step, one after the other
    minibatches   the data, and the counter on the device that says which minibatch is next
    exponential   the simplest kernel
    values        what a layer reads
    dense         dense layers
    output        the last layer, softmax and the loss
    convolution   convolution, pooling and rectifier, and their backward pass
    update        Nesterov momentum
    parameters    how weights lie
    blocks        how much a program computes
    cache         where compiled kernels are kept
    failures      what Triton's errors mean

A *program* computes a block of a result; a GPU runs hundreds at a time, in any order. A kernel is compiled for each
combination of its arguments in capitals, such as the sizes of a layer. In kernels, n is an image, y and x are a
position, c is a channel, k an input or a weight of a unit, f a filter, u a unit.

Imports `engines.cuda`, `engines.fused`, `engines.engine` and `networks`.
"""
