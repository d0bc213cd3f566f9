;; Transform whose module never finishes being instantiated.
(func $initialise (loop $forever (br $forever)))
(start $initialise)
(func (export "transform") (param i32 i32) (result i32) (call $ok))
