// Package abridged bounds what informers keep of an object, however large its author made it. What is larger than most
// is kept without its content, enough to find it, to see that it changed and to write its status; whoever gets it by
// its name is given the whole, from a small cache or from the API server.
//
// It knows the kinds, not what they are used for, and must not change an object in the API server.
package abridged
