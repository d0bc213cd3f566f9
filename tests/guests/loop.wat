;; Transform: never returns.
(func (export "transform") (param i32 i32) (result i32)
  (loop $forever (br $forever))
  unreachable)
