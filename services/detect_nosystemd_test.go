//go:build nosystemd

package services

const detectsSystemd = false
