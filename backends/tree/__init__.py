"""Volumes below one directory: what every backend shares that reaches its storage as files.

A profile has one root (`store`), a volume one directory below it, its data a layout: a plain
`directory`, or an `image` with a file system of its own. Where the root comes from, and how the
data of one volume are reached to be mounted (`source`), is what such backends differ in.
"""
