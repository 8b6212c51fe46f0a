"""The real parts that tests run against: engines, images, the plugin in both packagings.

Nothing here knows a test. Everything that is started lives in namespaces and directories of its
own, so that a killed run leaves no process and no mount, and two runs do not meet.
"""
